"""Two workers and one job, explored to the end: every place for a crash, a freeze, and a lost reply.

The first worker runs as long as it can; the second gets a double of every message, and acts whenever the first cannot.
A plan says at which of the first worker's doors it dies, and at which it is frozen, so that the second goes on alone
from there. Nothing else goes wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from imagejobs.job import Spec
from imagejobs.queues import POLL, TEND
from imagejobs.settings import Settings
from tests.simulation.fleet import Fleet
from tests.simulation.people import VERSION
from tests.simulation.run import Result, judged, to_the_end
from tests.simulation.weather import Weather
from tests.simulation.world import Choices, Fiber

FREEZES_SECONDS = (1.0, 9.0, 200.0)  # shorter than a claim is fresh, longer, and longer than anybody waits
AFTER_DOORS = 80  # about so many doors does a worker pass after a freeze


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Doors are counted from the first worker's first; None: does not happen."""

    crash_at: int | None = None
    freeze_at: int | None = None
    freeze_seconds: float = 0.0
    is_lost: bool = False
    freeze_on: str | None = None  # the first door of that name
    is_gone: bool = False  # the output can be fetched once, and then no more


class Straight(Choices):
    """No dice: the first way, the least number, never."""

    def __init__(self) -> None:
        super().__init__(0)

    def pick(self, label: str, count: int) -> int:
        return 0

    def chance(self, label: str, probability: float) -> bool:
        return False

    def between(self, label: str, least: float, most: float) -> float:
        return most if label == "pulse" else least  # sweeps as rare as can be: waiting costs steps


class Planned(Weather):
    """Messages are doubled, and the first create's reply is lost if the plan says so."""

    plan: Plan

    def strikes(self, name: str) -> bool:
        if name == "message_doubled":
            return True
        if name == "output_gone" and self.plan.is_gone:
            return self._hit(name) == 2
        return name == "create_lost" and self.plan.is_lost and not self.hits.get(name) and bool(self._hit(name))

    def _hit(self, name: str) -> int:
        self.hits[name] = self.hits.get(name, 0) + 1
        return self.hits[name]


class Pair(Fleet):
    """The fleet of a plan."""

    plan: Plan
    doors = 0
    named = False

    def _strike(self, fiber: Fiber) -> None:
        if fiber.host.name != "w1":
            return
        self.doors += 1
        if self.doors == self.plan.crash_at:
            self.crash(fiber.host)
        elif self.doors == self.plan.freeze_at or self._is_named(fiber):
            self.freeze(fiber.host, self.plan.freeze_seconds)

    def _is_named(self, fiber: Fiber) -> bool:
        named, self.named = self.named, self.named or fiber.at.split(" ")[0] == self.plan.freeze_on
        return self.named and not named


_SETTINGS = Settings.read(
    {"IMAGEJOBS_READ_SECONDS": "5", "IMAGEJOBS_SETTLE_SECONDS": "3", "IMAGEJOBS_KEEP_SECONDS": "100"}
)


def explore(plan: Plan) -> tuple[Result, int]:
    """One run by plan. Returns what came of it, and how many doors the first worker passed."""
    choices = Straight()
    weather = Planned(choices, {}, {})
    weather.plan = plan
    fleet = Pair(choices, weather, _SETTINGS)
    fleet.plan = plan

    def play() -> None:
        given = {"prompt": "a lighthouse", "seed": 1}
        fleet.add_batch("first", [Spec(id="only", line=1, version=VERSION, input=given)])
        fleet.start_worker()
        fleet.start_worker()
        for sweep in (TEND, POLL):
            fleet.pulse(sweep, fleet.due[sweep])
        to_the_end(fleet, 3000.0)

    return judged(0, fleet, play, shown=80), fleet.doors


def every_crash() -> Iterator[Plan]:
    """A crash at each door, with and without a lost reply."""
    for is_lost in (False, True):
        start = Plan(is_lost=is_lost)
        _, doors = explore(start)
        yield start
        yield from (replace(start, crash_at=door) for door in range(1, doors + 1))


def every_freeze() -> Iterator[Plan]:
    """The second worker goes on alone from each door of the first, for each while."""
    for start in [Plan(), Plan(is_lost=True)]:
        _, doors = explore(start)
        for seconds in FREEZES_SECONDS:
            yield from (replace(start, freeze_at=door, freeze_seconds=seconds) for door in range(1, doors + 1))


def every_pair(*, stride: int = 1) -> Iterator[Plan]:
    """A freeze at each door, and a crash at each later one; every so many of them."""
    number = 0
    for frozen in every_freeze():
        at = frozen.freeze_at or 0
        doors = at + AFTER_DOORS if stride > 1 else explore(frozen)[1]
        for door in range(at + 1, doors + 1):
            number += 1
            if number % stride == 0:
                yield replace(frozen, crash_at=door)
