"""Simulated time: a queue of events, tasks as generators, and processor cores that processes share.

A task yields waits; a wait is a function that is told how to go on. Nothing is left to chance: events of one moment
happen in the order in which they were arranged.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Generator
from itertools import count

Resume = Callable[[], None]
Wait = Callable[[Resume], None]
Task = Generator[Wait, None, None]
NEARLY_NOTHING = 1e-12  # seconds of work left over by rounding


class Loop:
    """The clock. `run` ends when nothing is left to happen, or when it is told to stop."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Resume]] = []
        self._numbers = count()
        self._is_over = False

    def at(self, moment: float, act: Resume) -> None:
        """Do this then; at once, if that has gone by."""
        heapq.heappush(self._events, (max(moment, self.now), next(self._numbers), act))

    def sleep(self, seconds: float) -> Wait:
        """Wait for so long."""
        return lambda resume: self.at(self.now + seconds, resume)

    def start(self, task: Task) -> None:
        """Let it run up to its first wait, and from wait to wait."""
        wait = next(task, None)
        if wait is not None:
            wait(lambda: self.start(task))

    def stop(self) -> None:
        """Nothing happens any more."""
        self._is_over = True

    def run(self) -> None:
        """Let everything happen, in order."""
        while self._events and not self._is_over:
            self.now, _, act = heapq.heappop(self._events)
            act()


class Machine:
    """Cores, shared evenly by the processes that have something to do; each can use one of them at most."""

    def __init__(self, loop: Loop, *, cores: float) -> None:
        self._loop = loop
        self._cores = cores
        self._busy: list[Process] = []
        self._seen_at = 0.0
        self._change = 0

    @property
    def speed(self) -> float:
        """How much of a core each busy process has."""
        return min(1.0, self._cores / max(1, len(self._busy)))

    def wakes(self, process: Process) -> None:
        """It has something to do from now on."""
        self._pass_time()
        self._busy.append(process)
        self._plan()

    def _pass_time(self) -> None:
        done = (self._loop.now - self._seen_at) * self.speed
        self._seen_at = self._loop.now
        for process in self._busy:
            process.left -= done
            process.used += done

    def _plan(self) -> None:
        """The next one to finish what it is at; whatever was planned before is void."""
        self._change += 1
        change = self._change
        if self._busy:
            soonest = min(process.left for process in self._busy)
            self._loop.at(self._loop.now + max(0.0, soonest) / self.speed, lambda: self._finish(change))

    def _finish(self, change: int) -> None:
        if change != self._change:
            return
        self._pass_time()
        done = [process for process in self._busy if process.left <= NEARLY_NOTHING]
        finished = [process.take_next() for process in done]
        self._busy = [process for process in self._busy if process.left > NEARLY_NOTHING]
        self._plan()
        for resume in finished:
            resume()


class Process:
    """Does one thing at a time, in order, as an interpreter with a lock does, or a server with one thread.

    `used`: seconds of processor time so far.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._waiting: deque[tuple[float, Resume]] = deque()
        self.left = 0.0
        self.used = 0.0

    def work(self, seconds: float) -> Wait:
        """Use so much processor time."""

        def wait(resume: Resume) -> None:
            self._waiting.append((max(seconds, 2 * NEARLY_NOTHING), resume))
            if len(self._waiting) == 1:
                self.left = self._waiting[0][0]
                self._machine.wakes(self)

        return wait

    def take_next(self) -> Resume:
        """What was at the head is done. Returns whom to tell; the next one begins, if there is one."""
        _, resume = self._waiting.popleft()
        self.left = self._waiting[0][0] if self._waiting else 0.0
        return resume


class Lock:
    """One holder at a time; those who wait are served in order. `held`: seconds so far."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._waiting: deque[Resume] = deque()
        self._since: float | None = None
        self.held = 0.0

    def acquire(self) -> Wait:
        """Wait for it."""

        def wait(resume: Resume) -> None:
            if self._since is None:
                self._since = self._loop.now
                self._loop.at(self._loop.now, resume)
            else:
                self._waiting.append(resume)

        return wait

    def release(self) -> None:
        """Let the next one have it."""
        self.held += self._loop.now - (self._since or 0.0)
        self._since = self._loop.now if self._waiting else None
        if self._waiting:
            self._loop.at(self._loop.now, self._waiting.popleft())
