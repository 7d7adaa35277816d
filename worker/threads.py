"""How many jobs may be claimed ahead of the threads that send their creates, where no slot paces them.

Without a bound, as many messages as a process takes would claim at once what its threads send one after the other.
Where creates are slow, the last of those claims go stale, and a killed process leaves them all to be looked up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from typing import Any

from imagejobs.clock import SystemClock

WAIT_SECONDS = 1.0  # so long may a call wait for a thread, by what the latest calls took; a claim is fresh for longer
LATEST = 8  # calls, about
QUICKEST_SECONDS = 0.001

_now = SystemClock().monotonic


class Taken(Executor):
    """A pool, for `count` calls."""

    def __init__(self, threads: Threads, pool: Executor, count: int) -> None:
        self._threads = threads
        self._pool = pool
        self.count = self.left = count

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """One of them."""
        future = self._pool.submit(self._threads.timed, call, *args, **kwargs)
        self.left -= 1
        future.add_done_callback(lambda _: self._threads.give_back(1))
        return future


class Threads:
    """A pool of `count` threads, and how many calls may be on their way to it."""

    def __init__(self, pool: Executor, count: int) -> None:
        self._pool = pool
        self._count = count
        self._seconds = WAIT_SECONDS  # what a call takes, by the latest; at first, a long time
        self._under_way = 0
        self._changed = threading.Condition()

    @contextmanager
    def take(self, most: int) -> Iterator[Taken]:
        """Wait until another call may be on its way, and take as many as may, up to `most`; what is left comes back."""
        with self._changed:
            self._changed.wait_for(lambda: self._free() > 0)
            taken = Taken(self, self._pool, min(most, self._free()))
            self._under_way += taken.count
        try:
            yield taken
        finally:
            self.give_back(taken.left)

    def _free(self) -> int:
        ahead = max(1.0, WAIT_SECONDS / max(self._seconds, QUICKEST_SECONDS))
        return int(self._count * ahead) - self._under_way

    def give_back(self, count: int) -> None:
        """So many calls have ended, or will not be made."""
        with self._changed:
            self._under_way -= count
            self._changed.notify_all()

    def timed(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Make a call, and remember how long it took."""
        began = _now()
        try:
            return call(*args, **kwargs)
        finally:
            with self._changed:
                self._seconds += (_now() - began - self._seconds) / LATEST
