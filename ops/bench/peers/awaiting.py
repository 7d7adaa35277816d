"""An image with aiohttp and aiobotocore, for peers of coroutines."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
from aiobotocore.session import get_session

from ops.bench.peers import surroundings

PASSING = (aiohttp.ClientError, TimeoutError, surroundings.Failed)


class Maker:
    """One HTTP session, one bucket client and one pace for a whole process. An async context manager."""

    async def __aenter__(self) -> Maker:
        self._stack = AsyncExitStack()
        connector = aiohttp.TCPConnector(limit=surroundings.IN_FLIGHT)
        self._http = await self._stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        self._bucket = await self._stack.enter_async_context(get_session().create_client("s3"))
        self._next_create = 0.0
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def make(self, row: dict[str, Any]) -> None:
        """Create, ask until it is finished, download, put. Raises Failed, or what the libraries raise."""
        prediction_id = (await self._call("POST", "predictions", json=surroundings.body(row)))["id"]
        while (url := surroundings.image_of(await self._call("GET", f"predictions/{prediction_id}"))) is None:
            await asyncio.sleep(surroundings.POLL_SECONDS)
        async with self._http.get(url) as reply:
            reply.raise_for_status()
            data = await reply.read()
        await self._bucket.put_object(
            Bucket=surroundings.BUCKET, Key=surroundings.key(row), Body=data, ContentType="image/png"
        )

    async def stubborn(self, row: dict[str, Any]) -> None:
        """`make`, tried again after an error, at growing intervals. Raises the last one."""
        for failed in range(surroundings.TRIES - 1):
            try:
                await self.make(row)
            except PASSING:
                await asyncio.sleep(0.5 * 2**failed)
            else:
                return
        await self.make(row)

    async def _call(self, method: str, path: str, **content: Any) -> dict[str, Any]:
        while True:
            if method == "POST":
                await self._pace()
            url = f"{surroundings.BASE_URL}/v1/{path}"
            async with self._http.request(method, url, headers=surroundings.HEADERS, **content) as reply:
                if reply.status != 429:
                    reply.raise_for_status()
                    answer: dict[str, Any] = await reply.json()
                    return answer
                wait = reply.headers.get("Retry-After") or (await reply.json()).get("retry_after") or 1
            await asyncio.sleep(float(wait))

    async def _pace(self) -> None:
        """Wait for this create's turn: turns are evenly spaced at the account's limit."""
        if surroundings.CREATES_PER_SECOND:
            turn = max(self._next_create, time.monotonic())
            self._next_create = turn + 1 / surroundings.CREATES_PER_SECOND
            await asyncio.sleep(turn - time.monotonic())
