"""The webhooks' receiver, a process of its own: `python -m worker.webhooks --host 127.0.0.1 --port 8700`.

It speaks plain HTTP, so something that ends TLS stands before it. A call is answered once the ledger has it: with 503
while that is away, so that the provider tells again.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

import structlog
from aiohttp import web

from imagejobs import logs
from imagejobs.clock import Clock
from imagejobs.edges.dialects import read_prediction
from imagejobs.edges.fields import read_json
from imagejobs.edges.provider import Provider
from imagejobs.edges.webhooks import Forged, read_secret, read_tag, verify
from imagejobs.errors import BadSetting, Complaint, Permanent, Refused, Throttled, Transient
from imagejobs.ledger import LEDGER_ERRORS
from imagejobs.settings import Settings
from worker.listener import Listener
from worker.services import open_services

MAX_BODY_BYTES = 64 * 2**20  # outputs may come as data: URIs

log = structlog.get_logger("imagejobs.webhooks")


class Receiver:
    """Checks each call, and hands what it says to the listener."""

    def __init__(self, listener: Listener, *, key: bytes, clock: Clock) -> None:
        self._listener = listener
        self._key = key
        self._clock = clock

    async def take(self, request: web.Request) -> web.Response:
        """204 heard, 400 no prediction of ours, 401 not the provider's word, 503 try again."""
        body = await request.read()
        try:
            verify(body, request.headers, key=self._key, now=self._clock.now())
        except Forged as error:
            log.warning("webhook_refused", because=str(error))
            return web.Response(status=401)
        tag, prediction = read_tag(str(request.rel_url)), read_prediction(read_json(body))
        if tag is None or prediction is None:
            return web.Response(status=400)
        try:
            await asyncio.to_thread(self._listener.hear, tag, prediction)
        except LEDGER_ERRORS as error:
            log.warning("webhook_put_off", error=type(error).__name__)
            return web.Response(status=503)
        return web.Response(status=204)

    async def health(self, _: web.Request) -> web.Response:
        """It listens."""
        return web.Response(text="ok\n")


def key_of(settings: Settings, provider: Provider) -> bytes:
    """What webhooks are signed with. Raises BadSetting where neither settings nor provider say."""
    given = settings.webhook_secret
    try:
        secret = given.get_secret_value() if given is not None else provider.webhook_secret()
    except (Transient, Throttled, Refused, Permanent) as error:
        raise BadSetting(f"the provider does not say what it signs webhooks with ({error})") from None
    if secret is None:
        raise BadSetting("this provider has no webhook secret: set IMAGEJOBS_WEBHOOK_SECRET, or use no webhooks")
    try:
        return read_secret(secret)
    except ValueError as error:
        raise BadSetting(f"IMAGEJOBS_WEBHOOK_SECRET: {error}") from None


def serve(settings: Settings, *, host: str, port: int) -> None:
    """Until SIGTERM or SIGINT. Raises BadSetting when it cannot begin."""
    logs.configure(level=settings.log_level)
    services = open_services(settings)
    try:
        receiver = Receiver(Listener(services), key=key_of(settings, services.provider), clock=services.clock)
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.add_routes([web.post("/{path:.*}", receiver.take), web.get("/{path:.*}", receiver.health)])
        web.run_app(
            app,
            host=host,
            port=port,
            access_log=None,
            print=lambda *_: log.info("webhooks_heard", host=host, port=port),
        )
    except OSError as error:
        raise BadSetting(f"webhooks cannot be received on {host}:{port}: {error.strerror}") from None
    finally:
        services.close()


def main() -> int:
    """Configured by its environment, like a worker. 2 where that cannot be used."""
    parser = argparse.ArgumentParser(prog="imagejobs webhooks")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8700)
    where = parser.parse_args()
    try:
        serve(Settings.read(os.environ), host=where.host, port=where.port)
    except Complaint as complaint:
        print(f"imagejobs: {complaint}", file=sys.stderr)  # noqa: T201 - before the log is set up
        return complaint.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
