"""Waiting for a condition: tests never sleep for a fixed time, so they are neither flaky nor slow."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Seen = TypeVar("Seen")


def eventually(
    predicate: Callable[[], Seen],
    *,
    timeout_seconds: float = 10.0,
    what: str | Callable[[], str] = "the condition",
    every_seconds: float = 0.05,
    ignoring: tuple[type[Exception], ...] = (),
) -> Seen:
    """Ask until the answer is truthy, and return it. Raises AssertionError with the last answer when time is up.

    `what` is asked for then, where it can be called: a log's end is of use as it is when time is up.
    Errors of the kinds in `ignoring` count as "not yet" (a server that refuses connections while it starts);
    all others are raised at once, because waiting would only hide them.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            seen: object = predicate()
            if seen:
                return seen  # type: ignore[return-value]
        except ignoring as error:
            seen = error
        if time.monotonic() >= deadline:
            named = what if isinstance(what, str) else what()
            raise AssertionError(f"{named}: not within {timeout_seconds:g} s; last seen: {seen!r}")
        time.sleep(every_seconds)
