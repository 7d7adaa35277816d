"""How far the provider's clock is behind ours, as its replies show."""

from __future__ import annotations

import threading

from imagejobs.clock import Clock
from imagejobs.edges.fields import read_http_date

TOLERANCE_SECONDS = 5.0
"""Date headers have whole seconds, and replies take a while: less than this is no difference between clocks."""

MOST_SECONDS = 86_400.0
"""A Date that is farther off says nothing of a clock."""

REMEMBERED_SECONDS = 3600.0
"""At least, and twice that at most: an hour is as long as anything of ours is searched for in the list."""


class ClockOffset:
    """By the Date headers of the last hour: the least that any of them said, and never above 0.

    Whoever asks the list from too early a moment on reads some pages more. From too late a one, a prediction that is
    paid for is missed, and paid for again. What was dated before our clock was set back needs the offset of that time;
    and a web server in front may be ahead of whoever dates the predictions. Safe to share between threads.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._since = clock.monotonic()
        self._lately = self._before = 0.0

    @property
    def seconds(self) -> float:
        """To be added to a moment of ours: 0 or less."""
        return min(self._lately, self._before)

    def hear(self, date: str | None, *, took_seconds: float) -> None:
        """A reply's Date, if it has any that can be read; one that was long in coming is of another moment."""
        if took_seconds > TOLERANCE_SECONDS or (theirs := read_http_date(date)) is None:
            return
        offset = theirs - self._clock.now()
        if abs(offset) < MOST_SECONDS:
            with self._lock:
                self._forget()
                self._lately = min(self._lately, offset)

    def _forget(self) -> None:
        if (now := self._clock.monotonic()) > self._since + REMEMBERED_SECONDS:
            self._since, self._before, self._lately = now, self._lately, 0.0

    def is_less_than(self, assumed: float) -> bool:
        """Whether it is by now known to be less than what was assumed."""
        return self.seconds < assumed - TOLERANCE_SECONDS
