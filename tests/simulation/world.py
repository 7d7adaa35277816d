"""One thread, one clock, one pair of dice: the scheduler that everything in a simulation asks for permission.

What would be a thread in a worker is a fiber here, a greenlet. It runs until it reaches a door (an edge, a sleep, the
broker, the ledger), where it stops, and the scheduler chooses who goes on; nothing else can change in between. So a
run is the sequence of the choices, and one seed is one run.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from random import Random
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet

EPOCH = 1_800_000_000.0  # what the simulated clocks show at the start
SHOWN_STEPS = 400


class Red(BaseException):
    """An invariant is broken. No Exception, since the code under test may catch those."""


class Choices:
    """The dice of a run."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def pick(self, label: str, count: int) -> int:
        """One of `count` ways to go on."""
        return self._random.randrange(count) if count > 1 else 0

    def chance(self, label: str, probability: float) -> bool:
        """Whether something of this probability happens."""
        return probability > 0 and self._random.random() < probability

    def between(self, label: str, least: float, most: float) -> float:
        """A number between the two."""
        return least + (most - least) * self._random.random()


@dataclass(eq=False)
class Host:
    """One simulated process: it can be frozen and killed, with all its fibers."""

    name: str
    frozen_until: float = 0.0
    is_dead: bool = False
    busy: int = 0


@dataclass(eq=False)
class Fiber:
    """One simulated thread, at the door where it waits."""

    host: Host
    run: greenlet
    wake_at: float
    at: str = "begin"
    until: Callable[[], bool] | None = None  # it waits for something, not for a moment

    def is_ready(self, now: float) -> bool:
        """Whether it could go on, but for its process."""
        return self.wake_at <= now and (self.until is None or self.until())


@dataclass
class World:
    """The scheduler."""

    choices: Choices
    now: float = 0.0
    fibers: list[Fiber] = field(default_factory=list)
    trace: deque[str] = field(default_factory=lambda: deque(maxlen=SHOWN_STEPS))
    steps: int = 0
    strike: Callable[[Fiber], None] = lambda _fiber: None
    offers: Callable[[], list[Callable[[], None]]] = list
    check: Callable[[], None] = lambda: None
    hub: Any = field(default_factory=getcurrent)

    def __post_init__(self) -> None:
        self._events: list[tuple[float, int, str, Callable[[], None]]] = []
        self._order = 0
        self._digest = hashlib.blake2b(digest_size=8)
        self.current: Fiber | None = None

    @property
    def digest(self) -> str:
        """Stands for the whole trace."""
        return self._digest.hexdigest()

    def note(self, text: str) -> None:
        """One line of the trace."""
        line = f"{self.now:10.3f} {self.current.host.name if self.current else '-':<4} {text}"
        self._digest.update(line.encode())
        self.trace.append(line)

    def start(self, host: Host, act: Callable[[], None], *, at: str) -> None:
        """A new fiber of this host."""
        self.fibers.append(Fiber(host, greenlet(lambda: self._live(host, act), parent=self.hub), self.now, at))

    def _live(self, host: Host, act: Callable[[], None]) -> None:
        host.busy += 1
        try:
            act()
        finally:
            host.busy -= 1

    def later(self, seconds: float, label: str, act: Callable[[], None]) -> None:
        """Do this of itself, then."""
        self._order += 1
        heapq.heappush(self._events, (self.now + seconds, self._order, label, act))

    def pause(self, label: str, seconds: float = 0.0, *, until: Callable[[], bool] | None = None) -> None:
        """A door: whoever comes here waits for its turn, and for `seconds` at least, or until something is so."""
        fiber = self.current
        if fiber is None:
            return  # somebody from outside the simulation, setting it up
        if fiber.host.is_dead:
            raise GreenletExit
        fiber.at, fiber.wake_at, fiber.until = label, self.now + seconds, until
        self.hub.switch()
        if fiber.host.is_dead:
            raise GreenletExit

    def kill(self, host: Host) -> None:
        """As SIGKILL does: nothing of it goes on, and nothing is tidied up, for every door is shut to the dead."""
        host.is_dead = True
        for fiber in [one for one in self.fibers if one.host is host]:
            self.fibers.remove(fiber)
            if fiber.run is not getcurrent():
                self._resume(fiber, dead=True)

    def end(self) -> None:
        """Everybody is killed, so that nobody of this run reaches a door of the next."""
        for fiber in list(self.fibers):
            self.kill(fiber.host)

    def step(self) -> None:
        """Let one fiber go on to its next door, hand out one message, or let something happen of itself."""
        ways = self._ways()
        while not ways:
            self.now = self._next_moment()
            ways = self._ways()
        ways[self.choices.pick("who", len(ways))]()
        self.steps += 1
        self.check()

    def _ways(self) -> list[Callable[[], None]]:
        if self._events and self._events[0][0] <= self.now:
            return [self._happen]
        ready = [one for one in self.fibers if one.host.frozen_until <= self.now and one.is_ready(self.now)]
        return [*(lambda fiber=one: self._go_on(fiber) for one in ready), *self.offers()]

    def _next_moment(self) -> float:
        waiting = [one for one in self.fibers if one.until is None or one.until()]
        moments = [max(one.wake_at, one.host.frozen_until) for one in waiting]
        moments += [self._events[0][0]] if self._events else []
        if not moments:
            raise Red("nothing will ever happen again")
        return max(self.now, min(moments))

    def _happen(self) -> None:
        _, _, label, act = heapq.heappop(self._events)
        if label:
            self.note(label)
        act()

    def _go_on(self, fiber: Fiber) -> None:
        self.strike(fiber)
        if fiber.host.is_dead or fiber.host.frozen_until > self.now:
            return
        self._resume(fiber)
        if fiber.run.dead and fiber in self.fibers:
            self.fibers.remove(fiber)

    def _resume(self, fiber: Fiber, *, dead: bool = False) -> None:
        before, self.current = self.current, fiber
        if not dead:
            self.note(fiber.at)
        try:
            if dead:
                fiber.run.throw(GreenletExit)
            else:
                fiber.run.switch()
        finally:
            self.current = before


class SimulatedClock:
    """Both clocks of every host; a frozen host finds that they went on without it."""

    def __init__(self, world: World) -> None:
        self._world = world

    def now(self) -> float:
        """Seconds since the epoch."""
        return EPOCH + self._world.now

    def monotonic(self) -> float:
        """Seconds since the start."""
        return self._world.now

    def sleep(self, seconds: float) -> None:
        """A door."""
        self._world.pause("sleep", seconds)


class InTurn(Executor):
    """Instead of threads: a call is made at once, by the fiber that starts it."""

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """It has ended by the time this returns, well or badly."""
        future: Future[Any] = Future()
        try:
            future.set_result(call(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - not swallowed: raised to whoever asks for the result
            future.set_exception(error)
        return future


class Turn:
    """A lock between fibers."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._is_taken = False

    def __enter__(self) -> None:
        if self._is_taken:
            self._world.pause("waits for a turn", until=lambda: not self._is_taken)
        self._is_taken = True

    def __exit__(self, *_: object) -> None:
        self._is_taken = False
