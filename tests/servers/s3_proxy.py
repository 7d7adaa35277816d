"""An HTTP proxy before an object store, for faults that only a store's own words can make: it refuses, or is slow."""

from __future__ import annotations

import asyncio
import random
import threading
from types import TracebackType
from typing import Self

from aiohttp import ClientSession, TCPConnector, web
from yarl import URL

from tests.servers.ports import free_port

_ANSWER_SECONDS = 10.0
_MOST_BYTES = 256 * 2**20
_HOP = {"connection", "keep-alive", "transfer-encoding"}
# As S3 has it (docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html).
_SLOW_DOWN = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)


class S3Proxy:
    """Passes every request on as it came, Host and all, so that its signature stays right. A context manager.

    `share_refused` of the requests are answered with SlowDown and never reach the store; a put is held for
    `put_seconds` first. Both may change at any time. `refused` and `held` count what was done.
    """

    def __init__(self, target: str, *, share_refused: float = 0.0, put_seconds: float = 0.0) -> None:
        self.port = free_port()
        self.share_refused = share_refused
        self.put_seconds = put_seconds
        self.refused = self.held = 0
        self._target = target
        self._dice = random.Random(11)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="S3 proxy", daemon=True)

    @property
    def endpoint(self) -> str:
        """What AWS_ENDPOINT_URL_S3 takes."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._begin(), self._loop).result(_ANSWER_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(_ANSWER_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_ANSWER_SECONDS)
        self._loop.close()

    async def _begin(self) -> None:
        self._client = ClientSession(connector=TCPConnector(limit=0), auto_decompress=False)
        application = web.Application(client_max_size=_MOST_BYTES)
        application.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(application, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def _end(self) -> None:
        await self._runner.cleanup()
        await self._client.close()

    async def _serve(self, request: web.Request) -> web.Response:
        body = await request.read()
        if self._dice.random() < self.share_refused:
            self.refused += 1
            return web.Response(status=503, body=_SLOW_DOWN, content_type="application/xml")
        if request.method == "PUT" and self.put_seconds:
            self.held += 1
            await asyncio.sleep(self.put_seconds)
        url = URL(self._target + request.raw_path, encoded=True)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        async with self._client.request(
            request.method, url, headers=headers, data=body, allow_redirects=False
        ) as reply:
            told = {name: value for name, value in reply.headers.items() if name.lower() not in _HOP}
            return web.Response(status=reply.status, headers=told, body=await reply.read())
