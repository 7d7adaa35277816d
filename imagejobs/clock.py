"""Time as an argument: whoever needs it is given a clock, so that a test or a simulation can own it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Two clocks, never mixed: `now` dates things, `monotonic` measures how long they took."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, never stepping back."""

    def sleep(self, seconds: float) -> None:
        """Let that long pass."""


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since boot; it counts on while the machine sleeps where the system has such a clock.

        A laptop that was suspended between a claim and its POST must see that time has passed: Linux's CLOCK_MONOTONIC
        stands still meanwhile, CLOCK_BOOTTIME does not.
        """
        return time.clock_gettime(_BOOTTIME) if _BOOTTIME is not None else time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Let that long pass."""
        time.sleep(seconds)


_BOOTTIME: int | None = getattr(time, "CLOCK_BOOTTIME", None)
