"""A row's way through a simulated night, and outcomes that are written together as `worker/abreast.py` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ops.bench.simulation.events import Loop, Resume, Task, Wait
from worker.abreast import TOGETHER_SECONDS


@dataclass(slots=True)
class Picture:
    """One row's way: simulated seconds, None until it has come so far."""

    number: int
    intent_at: float = 0.0
    created_at: float | None = None
    completed_at: float = 0.0
    place: int = 0  # in the provider's list, the oldest 0
    safe_at: float | None = None


Write = Callable[[Sequence[Picture]], Task]


class Together:
    """The calls of one message. `done` hears of outcomes that have been written."""

    def __init__(self, loop: Loop, write: Write, *, expected: int, done: Callable[[Sequence[Picture]], None]) -> None:
        self._loop, self._write, self._done = loop, write, done
        self._missing = self._unwritten = expected
        self._ready: list[Picture] = []
        self._resume: Resume | None = None

    def add(self, picture: Picture) -> None:
        """One has come. It waits for the others, but not for long."""
        self._missing -= 1
        self._ready.append(picture)
        if not self._missing:
            self._flush()
        elif len(self._ready) == 1:
            self._loop.at(self._loop.now + TOGETHER_SECONDS, self._flush)

    def _flush(self) -> None:
        ready, self._ready = self._ready, []
        if ready:
            self._loop.start(self._conclude(ready))

    def _conclude(self, ready: Sequence[Picture]) -> Task:
        yield from self._write(ready)
        self._done(ready)
        self._unwritten -= len(ready)
        if not self._unwritten and self._resume is not None:
            self._resume()

    def all_written(self) -> Wait:
        """Wait for the last of them."""

        def wait(resume: Resume) -> None:
            self._resume = resume
            if not self._unwritten:
                resume()

        return wait
