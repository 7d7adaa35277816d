"""Small real records for tests: only what a test cares about needs saying."""

from __future__ import annotations

from typing import Any

from imagejobs.edges.dialects import Prediction
from imagejobs.job import Image, Job
from imagejobs.settings import DEFAULT_VERSION
from imagejobs.states import State


def a_job(**facts: Any) -> Job:
    """A job of one 64 by 64 image, running in its first attempt unless told otherwise."""
    usual: dict[str, Any] = {
        "id": 7,
        "batch_id": 1,
        "batch": "night",
        "row_id": "r1",
        "state": State.RUNNING,
        "version": DEFAULT_VERSION,
        "input": {"prompt": "a lighthouse", "seed": 5},
        "outputs": 1,
        "attempt": 1,
        "tries_left": 4,
        "intent_at": 1000.0,
        "prediction_id": "p1",
    }
    return Job(**{**usual, **facts})


def a_prediction(**facts: Any) -> Prediction:
    """What the provider says of `a_job`."""
    usual: dict[str, Any] = {"id": "p1", "status": "processing", "version": DEFAULT_VERSION, "created_at": 1000.5}
    return Prediction(**{**usual, "input": {"prompt": "a lighthouse", "seed": 5}, **facts})


def an_image(**facts: Any) -> Image:
    """One stored image."""
    usual: dict[str, Any] = {"index": 0, "uri": "file:///x/r1-0.png", "sha256": "0" * 64, "bytes": 10}
    usual |= {"width": 64, "height": 64, "content_type": "image/png", "stored_at": 1010.0}
    return Image(**{**usual, **facts})
