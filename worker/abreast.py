"""Slow calls side by side, and their outcomes written together: a message's creates, its copies, a sweep's looks.

Each call has a thread of its own, so none waits for another's network. What comes of them is written by whoever sent
them, many in one transaction: a commit costs as much as everything else that the ledger does for a job.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Executor, Future, wait
from math import inf

from imagejobs.clock import Clock
from imagejobs.job import Job
from worker.outcomes import Outcome

TOGETHER_SECONDS = 0.1  # no outcome waits for longer for the company of others

Decided = tuple[Job, Outcome]
Conclude = Callable[[Sequence[Decided]], None]


class Abreast:
    """The calls of one message. `conclude` writes outcomes; what it raises is raised to whoever waits for it."""

    def __init__(self, pool: Executor, *, clock: Clock, conclude: Conclude) -> None:
        self._pool = pool
        self._clock = clock
        self._conclude = conclude
        self._under_way: list[Future[Decided]] = []
        self._ready: list[Decided] = []
        self._write_at = inf

    def start(self, call: Callable[[], Decided]) -> None:
        """Begin one more."""
        self._under_way.append(self._pool.submit(call))

    def write(self, *, until: float = inf) -> None:
        """Write outcomes as they come, until a moment of the steady clock or until all have come and are written.

        An outcome waits for others that are under way, or begun at that moment, but never for longer than
        TOGETHER_SECONDS.
        """
        while self._collect():
            now = self._clock.monotonic()
            company = self._under_way or until <= self._write_at
            if self._ready and (not company or now >= self._write_at):
                self._flush()
            elif now >= until or not self._under_way:
                return
            else:
                pause = min(self._write_at, until) - now
                wait(
                    self._under_way,
                    timeout=None if pause == inf else pause,
                    return_when=ALL_COMPLETED if self._ready else FIRST_COMPLETED,  # not woken for each of them
                )

    def _collect(self) -> bool:
        """Take what has come, in the order in which it began. False when nothing is left to wait for, or to write."""
        done = [one for one in self._under_way if one.done()]
        if done and not self._ready:
            self._write_at = self._clock.monotonic() + TOGETHER_SECONDS
        if done:
            ended = set(done)
            self._under_way = [one for one in self._under_way if one not in ended]
        self._ready += [one.result() for one in done]
        return bool(self._under_way or self._ready)

    def _flush(self) -> None:
        ready, self._ready, self._write_at = self._ready, [], inf
        self._conclude(ready)
