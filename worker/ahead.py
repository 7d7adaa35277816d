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

WAIT_SECONDS = 1.0  # so long may a claim wait for a thread; it is fresh for five times as long
MOST_A_THREAD = 4  # more gain nothing, however quick creates are, and all would be stale once they are slow
LATEST = 8  # creates, about, whose time counts


class Taken(Executor):
    """A pool, for `count` calls."""

    def __init__(self, ahead: Ahead, pool: Executor, count: int) -> None:
        self._ahead = ahead
        self._pool = pool
        self._unused = count
        self.count = count

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """One of them."""
        future = self._pool.submit(call, *args, **kwargs)
        self._unused -= 1
        future.add_done_callback(lambda _: self._ahead.give_back(1))
        return future

    def keep(self, count: int) -> None:
        """Give back what is not needed beyond so many."""
        self._unused, unneeded = count, self._unused - count
        self._ahead.give_back(unneeded)


class Ahead:
    """How many calls may be on their way to a pool of `threads`, by how long the latest took."""

    def __init__(self, pool: Executor, threads: int) -> None:
        self._pool = pool
        self._threads = threads
        self._seconds = WAIT_SECONDS  # nobody knows yet: a long time
        self._under_way = 0
        self._changed = threading.Condition()

    @contextmanager
    def take(self, most: int, *, within_seconds: float) -> Iterator[Taken]:
        """As many calls as may be on their way, up to `most`; none when that is none for so long.

        Those that are not made by the end of the block come back.
        """
        with self._changed:
            self._changed.wait_for(self._is_worth_it, timeout=within_seconds)
            taken = Taken(self, self._pool, max(0, min(most, self._free())))
            self._under_way += taken.count
            self._wake_one()
        try:
            yield taken
        finally:
            taken.keep(0)

    def _free(self) -> int:
        return self._most() - self._under_way

    def _most(self) -> int:
        a_thread = WAIT_SECONDS / max(self._seconds, WAIT_SECONDS / MOST_A_THREAD)
        return int(self._threads * max(1.0, a_thread))

    def _is_worth_it(self) -> bool:
        """Enough for a claim of some size, which costs little more than one of a single job; the threads have work."""
        waiting = self._most() - self._threads
        return self._free() > waiting // 3

    def _wake_one(self) -> None:
        """Of those who wait: all of them, at each call that ends, would only find that another was quicker."""
        if self._is_worth_it():
            self._changed.notify()

    def give_back(self, count: int) -> None:
        """So many calls have ended, or will not be made."""
        with self._changed:
            self._under_way -= count
            self._wake_one()

    def took(self, seconds: float) -> None:
        """A create was sent, and took so long. A slow one counts at once, and is forgotten over the next quick ones."""
        with self._changed:
            self._seconds = max(seconds, self._seconds + (seconds - self._seconds) / LATEST)
