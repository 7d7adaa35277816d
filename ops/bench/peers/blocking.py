"""The three steps of an image with requests and boto3, for peers of threads and processes."""

from __future__ import annotations

import threading
import time
from functools import cache
from typing import Any

import boto3
import requests

from ops.bench.peers import surroundings

TIMEOUT_SECONDS = 30
_local = threading.local()


def create(row: dict[str, Any]) -> str:
    """The id of a new prediction. Raises Throttled, or what requests raises."""
    reply = _call("POST", "predictions", json=surroundings.body(row))
    return str(reply.json()["id"])


def look(prediction_id: str) -> str | None:
    """The address of its image; None while it runs. Raises Failed, Throttled, or what requests raises."""
    return surroundings.image_of(_call("GET", f"predictions/{prediction_id}").json())


def store(row: dict[str, Any], url: str) -> None:
    """Download the image and put it into the bucket."""
    reply = _session().get(url, timeout=TIMEOUT_SECONDS)
    reply.raise_for_status()
    _bucket().put_object(
        Bucket=surroundings.BUCKET, Key=surroundings.key(row), Body=reply.content, ContentType="image/png"
    )


def whole(row: dict[str, Any]) -> None:
    """All three, the thread asleep in between. Raises what they raise, but for Throttled: that is waited for."""
    prediction_id = _patient(create, row)
    while (url := _patient(look, prediction_id)) is None:
        time.sleep(surroundings.POLL_SECONDS)
    store(row, url)


def _patient(step: Any, argument: Any) -> Any:
    while True:
        try:
            return step(argument)
        except surroundings.Throttled as wait:
            time.sleep(wait.after_seconds)


def _call(method: str, path: str, **content: Any) -> requests.Response:
    url = f"{surroundings.BASE_URL}/v1/{path}"
    reply = _session().request(method, url, headers=surroundings.HEADERS, timeout=TIMEOUT_SECONDS, **content)
    if reply.status_code == 429:
        raise surroundings.Throttled(float(reply.headers.get("Retry-After") or reply.json().get("retry_after") or 1))
    reply.raise_for_status()
    return reply


def _session() -> requests.Session:
    """One a thread: requests does not promise that threads may share one."""
    if not hasattr(_local, "session"):
        _local.session = requests.Session()
    session: requests.Session = _local.session
    return session


@cache
def _bucket() -> Any:
    """One client a process, made when it is first used and so after any fork."""
    return boto3.client("s3")
