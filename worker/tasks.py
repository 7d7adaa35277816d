"""The four Celery tasks: wiring and nothing else. What each does is in `worker.messages`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery import Celery

from worker.messages import Act, acts
from worker.pulse import Pulse
from worker.services import Services


def register(app: Celery, services: Services, *, threads: int, is_leaving: Callable[[], bool]) -> Pulse:
    """Register submit, store, poll and tend on the app. Returns the pulse that sends the last two."""
    pulse = Pulse(services.broker, dice=services.dice)
    for name, act in acts(services, threads=threads, rested=pulse.rest, is_leaving=is_leaving).items():
        app.task(_without_keywords(act), name=name, typing=False)
    return pulse


def _without_keywords(act: Act) -> Act:
    """A message of another version may bring some; ours have none."""

    def task(*args: Any, **_: Any) -> None:
        act(*args)

    return task
