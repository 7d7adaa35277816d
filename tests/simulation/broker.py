"""Redis: queues that lose, double, delay and disorder messages, and the limiter's buckets."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import redis

from imagejobs.limiter import UNSAID_SECONDS, Grant
from imagejobs.queues import IN_ORDER, LASTING_SECONDS, STORE, SUBMIT
from tests.simulation.weather import Weather
from tests.simulation.world import World

LONGEST_DELAY_SECONDS = 90.0


@dataclass(eq=False)
class Message:
    """`task` and its arguments."""

    task: str
    args: list[Any]


class SimulatedBroker:
    """As `imagejobs.queues.Broker`: once, usually."""

    prefix = "imagejobs:simulated:"

    def __init__(self, world: World, weather: Weather) -> None:
        self._world = world
        self._weather = weather
        self.queues: dict[str, list[Message]] = {name: [] for name in IN_ORDER}
        self.has_memory = False
        self._leases: dict[str, float] = {}
        self._since: dict[str, tuple[float, float]] = {}

    def send(self, task: str, groups: Sequence[Sequence[int]]) -> None:
        """Pipelined; what was sent before Redis went away stays sent."""
        for group in groups:
            self.call("send")
            self.put(task, [list(group)])

    def nudge(self, task: str) -> None:
        """For the sweeps."""
        self.call("nudge")
        self.put(task, [])

    def has_lost_messages(self) -> bool:
        """True once after a flush, or a doubt."""
        self.call("epoch")
        had, self.has_memory = self.has_memory, True
        return not had

    def drop_unread(self) -> None:
        """All of it will be sent anew."""
        self.call("drop unread")
        self.queues[SUBMIT].clear()
        self.queues[STORE].clear()

    def doubt(self) -> None:
        """Messages may have been lost."""
        self.call("doubt")
        self.has_memory = False

    def lease(self, name: str, *, seconds: float, renew: bool = False) -> bool:
        """For so long, if nobody else has it."""
        self.call("lease")
        if not renew and self._leases.get(name, 0.0) > self._world.now:
            return False
        self._leases[name] = self._world.now + seconds
        return True

    def release(self, name: str) -> None:
        """Done."""
        self.call("release")
        self._leases.pop(name, None)

    def lasts(self, name: str, *, now: float) -> float:
        """Since when, if it was said lately."""
        self.call("lasts")
        since, said_at = self._since.get(name, (now, self._world.now))
        since = since if said_at + LASTING_SECONDS > self._world.now else now
        self._since[name] = since, self._world.now
        return since

    def is_over(self, name: str) -> None:
        """Well."""
        self.call("is_over")
        self._since.pop(name, None)

    def call(self, label: str) -> None:
        """Every use of Redis begins here."""
        self._world.pause(label)
        if self._weather.strikes("redis_away"):
            raise redis.ConnectionError("simulated")

    def put(self, task: str, args: list[Any]) -> None:
        """Queue it, or whatever the weather makes of that."""
        if self._weather.strikes("message_lost"):
            return
        for _ in range(1 + self._weather.strikes("message_doubled")):
            message = Message(task, args)
            if self._weather.strikes("message_delayed"):
                delay = self._weather.choices.between("delay", 0.1, LONGEST_DELAY_SECONDS)
                self._world.later(delay, f"late {task}", lambda message=message: self.queues[task].append(message))
            else:
                self.queues[task].append(message)

    def take(self) -> Message:
        """The next message in the order that workers look. A worker that dies takes it along."""
        queue = next(self.queues[name] for name in IN_ORDER if self.queues[name])
        place = self._weather.choices.pick("place", len(queue)) if self._weather.strikes("message_disordered") else 0
        return queue.pop(place)

    @property
    def has_any(self) -> bool:
        """Whether a worker would find a message."""
        return any(self.queues.values())

    def flush(self) -> None:
        """FLUSHALL."""
        for queue in self.queues.values():
            queue.clear()
        self.has_memory = False
        self._leases.clear()
        self._since.clear()


class SimulatedLimiter:
    """As `imagejobs.limiter.Limiter`: places in time, evenly spaced."""

    def __init__(self, broker: SimulatedBroker, world: World, *, per_minute: float) -> None:
        self._broker = broker
        self._world = world
        self._per_second = per_minute / 60
        self._free_at = self._closed_until = 0.0

    def reserve(self, places: int, *, ahead_seconds: float) -> Grant:
        """Places within `ahead_seconds`."""
        self._broker.call("reserve")
        now = self._world.now
        start = max(now, self._free_at, self._closed_until)
        if start - now > ahead_seconds:
            return Grant(places=0, after_seconds=start - now, spacing_seconds=0.0)
        spacing = 1 / self._per_second
        granted = min(places, int((now + ahead_seconds - start) / spacing) + 1)
        self._free_at = start + granted * spacing
        return Grant(places=granted, after_seconds=start - now, spacing_seconds=spacing)

    def per_minute(self) -> float:
        """The rate."""
        self._broker.call("rate")
        return self._per_second * 60

    def booked_seconds(self) -> float:
        """How far ahead."""
        self._broker.call("booked")
        return max(0.0, max(self._free_at, self._closed_until) - self._world.now)

    def throttled(self, after_seconds: float | None) -> float:
        """Closed for as long as the provider says. Never raises, as the real one."""
        seconds = UNSAID_SECONDS if after_seconds is None else after_seconds
        with suppress(redis.RedisError):
            self._broker.call("throttled")
            self._closed_until = max(self._closed_until, self._world.now + seconds)
        return seconds

    def waited(self, seconds: float) -> None:
        """For people only."""

    def give_back(self, grant: Grant, places: int) -> None:
        """Places that will not be used. Never raises, as the real one."""
        with suppress(redis.RedisError):
            self._broker.call("give back")
            self._free_at -= places * grant.spacing_seconds
