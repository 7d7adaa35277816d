"""arq by its documentation: one coroutine an image.

Workers: `arq ops.bench.peers.arq_app.WorkerSettings`. To enqueue: `python -m ops.bench.peers.arq_app FILE`.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from arq import Retry, create_pool
from arq.connections import RedisSettings

from ops.bench.peers import surroundings
from ops.bench.peers.awaiting import PASSING, Maker


async def make(context: dict[str, Any], row: dict[str, Any]) -> None:
    """One image; an error is a retry, later each time."""
    try:
        await context["maker"].make(row)
    except PASSING:
        raise Retry(defer=context["job_try"]) from None


async def open_maker(context: dict[str, Any]) -> None:
    """Sessions for the whole process."""
    context["maker"] = await Maker().__aenter__()


async def close_maker(context: dict[str, Any]) -> None:
    """The end of them."""
    await context["maker"].__aexit__()


class WorkerSettings:
    """What `arq` reads."""

    functions = (make,)
    redis_settings = RedisSettings.from_dsn(surroundings.REDIS_URL)
    on_startup = open_maker
    on_shutdown = close_maker
    max_jobs = surroundings.IN_FLIGHT
    max_tries = surroundings.TRIES
    keep_result = 0


async def enqueue(path: str) -> None:
    """A job a row."""
    redis = await create_pool(WorkerSettings.redis_settings)
    for row in surroundings.rows(path):
        await redis.enqueue_job("make", row)
    await redis.aclose()


if __name__ == "__main__":
    asyncio.run(enqueue(sys.argv[1]))
