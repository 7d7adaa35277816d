"""Celery by its documentation: a task a step, `autoretry_for` with back-off, and a poll that retries itself.

Workers: `celery -A ops.bench.peers.celery_app worker -P … -c …`.
To enqueue: `python -m ops.bench.peers.celery_app FILE`.
"""

from __future__ import annotations

import sys
from typing import Any

import requests
from celery import Celery

from ops.bench.peers import blocking, surroundings

app = Celery("bench", broker=surroundings.REDIS_URL)
app.conf.task_ignore_result = True
app.conf.broker_connection_retry_on_startup = True
again = {
    "autoretry_for": (requests.RequestException,),
    "retry_backoff": True,
    "max_retries": surroundings.TRIES,
}


@app.task(bind=True, **again)
def create(self: Any, row: dict[str, Any]) -> None:
    """Send the create, and look for its end later."""
    try:
        prediction_id = blocking.create(row)
    except surroundings.Throttled as wait:
        raise self.retry(countdown=wait.after_seconds, max_retries=None) from None
    look.apply_async((row, prediction_id), countdown=surroundings.POLL_SECONDS)


@app.task(bind=True, **again)
def look(self: Any, row: dict[str, Any], prediction_id: str) -> None:
    """Ask once; not yet is a retry."""
    try:
        url = blocking.look(prediction_id)
    except surroundings.Throttled as wait:
        raise self.retry(countdown=wait.after_seconds, max_retries=None) from None
    except surroundings.Failed:
        create.delay(row)
        return
    if url is None:
        raise self.retry(countdown=surroundings.POLL_SECONDS, max_retries=None)
    store.delay(row, url)


@app.task(**again)
def store(row: dict[str, Any], url: str) -> None:
    """Copy the image into the bucket."""
    blocking.store(row, url)


if __name__ == "__main__":
    from ops.bench.peers.celery_app import create as by_its_name  # this module is __main__ here, and so are its tasks

    for one in surroundings.rows(sys.argv[1]):
        by_its_name.delay(one)
