"""Signed webhooks: one task a prediction that asked for them, retried at its end only.

Delivery follows the vendor's documents: JSON as in get, signed the Svix way, no redirects followed; the terminal event
is retried with growing pauses until about a minute after the end, then never again. `aborted` is not among the states
that are documented to fire `completed`, so it does not here: pollers must not depend on it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import secrets

from aiohttp import ClientError, ClientSession, ClientTimeout

from sandbox.predictions import NS, Prediction, Status, ending
from sandbox.provider import Provider

TIMEOUT = ClientTimeout(total=10)
FIRST_RETRY_SECONDS = 0.5
GIVE_UP_SECONDS = 60  # after the end, by the vendor's documents


def signing_secret(seed: int) -> str:
    """Fixed by the seed, so that it is the same after a restart."""
    key = hashlib.sha256(f"imagejobs sandbox webhooks {seed}".encode()).digest()
    return f"whsec_{base64.b64encode(key).decode()}"


def signature(secret: str, *, webhook_id: str, timestamp: str, body: bytes) -> str:
    """`v1,<base64>` over `id.timestamp.body`, keyed with what follows `whsec_`."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{webhook_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


class Webhooks:
    """Runs on the event loop between `start` and `close`."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self.secret = signing_secret(provider.options.seed)
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: ClientSession | None = None

    async def start(self) -> None:
        """Also takes up what a restart interrupted; what ended within the last minute may so be told twice."""
        self._session = ClientSession(timeout=TIMEOUT)
        oldest_ns = self._provider.now_ns() - GIVE_UP_SECONDS * NS
        for prediction in self._provider.store.all():
            if ending(prediction)[0] > oldest_ns:
                self.plan(prediction)

    def forget(self) -> None:
        """Nothing that was planned is sent any more."""
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        self.forget()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def plan(self, prediction: Prediction) -> None:
        if prediction.webhook:
            task = asyncio.create_task(self._follow(prediction, prediction.webhook))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _follow(self, prediction: Prediction, url: str) -> None:
        events = prediction.webhook_events
        if "start" in events and self._provider.now_ns() < prediction.starts_ns:
            await self._provider.sleep_until(prediction.starts_ns, prediction)
            if self._provider.look(self._provider.latest(prediction)).status == Status.PROCESSING:
                await self._deliver(prediction, url)
        ended = await self._provider.wait_for_end(prediction, None)
        status = self._provider.look(ended).status
        if status == Status.SUCCEEDED and "output" in events and "completed" not in events:
            await self._deliver(ended, url)
        if status != Status.ABORTED and "completed" in events:
            await self._insist(ended, url)

    async def _insist(self, prediction: Prediction, url: str) -> None:
        webhook_id, pause, waited = _new_id(), FIRST_RETRY_SECONDS, 0.0
        while not await self._deliver(prediction, url, webhook_id=webhook_id) and waited < GIVE_UP_SECONDS:
            await asyncio.sleep(pause)
            waited, pause = waited + pause, 2 * pause

    async def _deliver(self, prediction: Prediction, url: str, *, webhook_id: str | None = None) -> bool:
        shown = await self._provider.show(prediction)
        body = json.dumps(shown, ensure_ascii=False).encode()
        delivered = await self._post(url, body, webhook_id=webhook_id or _new_id())
        if delivered:
            self._provider.stats.webhooks_delivered += 1
        else:
            self._provider.stats.webhooks_failed += 1
        return delivered

    async def _post(self, url: str, body: bytes, *, webhook_id: str) -> bool:
        timestamp = str(self._provider.now_ns() // NS)
        headers = {
            "Content-Type": "application/json",
            "webhook-id": webhook_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": signature(self.secret, webhook_id=webhook_id, timestamp=timestamp, body=body),
        }
        if self._session is None:
            return False
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                return answer.status < 400
        except (ClientError, TimeoutError, OSError):
            return False


def _new_id() -> str:
    return f"msg_{secrets.token_hex(12)}"
