"""How far the provider's clock is ahead of ours, as its replies show."""

from __future__ import annotations

from imagejobs.clock import Clock
from imagejobs.edges.fields import read_http_date

TOLERANCE_SECONDS = 5.0
"""Date headers have whole seconds, and replies take a while: less than this is no difference between clocks."""

MOST_SECONDS = 86_400.0
"""A Date that is farther off says nothing of a clock."""


class ClockOffset:
    """By the last Date header. Safe to share between threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.seconds = 0.0

    def hear(self, date: str | None) -> None:
        """A reply's Date, if it has any that can be read."""
        if (theirs := read_http_date(date)) is not None:
            offset = theirs - self._clock.now()
            self.seconds = offset if abs(offset) < MOST_SECONDS else 0.0

    def differs(self, assumed: float) -> bool:
        """Whether it is by now known to be another than the one that was assumed."""
        return abs(self.seconds - assumed) > TOLERANCE_SECONDS
