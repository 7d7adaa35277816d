"""Dramatiq by its documentation: an actor a step, retries by its middleware, a poll that is sent again with a delay.

Workers: `dramatiq ops.bench.peers.dramatiq_app -p 2 -t 32`. To enqueue: `python -m ops.bench.peers.dramatiq_app FILE`.
"""

from __future__ import annotations

import sys
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.errors import Retry

from ops.bench.peers import blocking, surroundings

dramatiq.set_broker(RedisBroker(url=surroundings.REDIS_URL))


@dramatiq.actor
def create(row: dict[str, Any]) -> None:
    """Send the create, and look for its end later."""
    try:
        prediction_id = blocking.create(row)
    except surroundings.Throttled as wait:
        raise Retry("throttled", delay=int(wait.after_seconds * 1000)) from None
    _look_later(row, prediction_id)


@dramatiq.actor
def look(row: dict[str, Any], prediction_id: str) -> None:
    """Ask once; not yet is another message."""
    try:
        url = blocking.look(prediction_id)
    except surroundings.Throttled as wait:
        raise Retry("throttled", delay=int(wait.after_seconds * 1000)) from None
    except surroundings.Failed:
        create.send(row)
        return
    if url is None:
        _look_later(row, prediction_id)
    else:
        store.send(row, url)


@dramatiq.actor
def store(row: dict[str, Any], url: str) -> None:
    """Copy the image into the bucket."""
    blocking.store(row, url)


def _look_later(row: dict[str, Any], prediction_id: str) -> None:
    look.send_with_options(args=(row, prediction_id), delay=int(surroundings.POLL_SECONDS * 1000))


if __name__ == "__main__":
    for one in surroundings.rows(sys.argv[1]):
        create.send(one)
