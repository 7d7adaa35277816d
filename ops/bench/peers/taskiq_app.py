"""Taskiq by its documentation: one async task an image on a Redis stream, retries by its middleware.

Workers: `taskiq worker ops.bench.peers.taskiq_app:broker`. To enqueue: `python -m ops.bench.peers.taskiq_app FILE`.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from taskiq import SimpleRetryMiddleware, TaskiqEvents, TaskiqState
from taskiq_redis import RedisStreamBroker

from ops.bench.peers import surroundings
from ops.bench.peers.awaiting import Maker

broker = RedisStreamBroker(surroundings.REDIS_URL).with_middlewares(
    SimpleRetryMiddleware(default_retry_count=surroundings.TRIES)
)


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def open_maker(state: TaskiqState) -> None:
    """Sessions for the whole process."""
    state.maker = await Maker().__aenter__()


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def close_maker(state: TaskiqState) -> None:
    """The end of them."""
    await state.maker.__aexit__()


@broker.task(task_name="make", retry_on_error=True)
async def make(row: dict[str, Any]) -> None:
    """One image."""
    await broker.state.maker.make(row)


async def enqueue(path: str) -> None:
    """A message a row."""
    await broker.startup()
    for row in surroundings.rows(path):
        await make.kiq(row)
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(enqueue(sys.argv[1]))
