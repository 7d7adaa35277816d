"""What was measured, beside what the simulation makes of the same scenario and the same costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ops.bench.book import Book, Figures
from ops.bench.contestants import CONTESTANTS
from ops.bench.measures import medians
from ops.bench.scenarios import Scenario
from ops.bench.simulation.night import costs_of, simulate

HELD = ("S1", "S2", "S2-long", "S4", "S4-cold")
WITHIN = 0.1
LIMITED = ("allowance_used", "images_per_second", "other_calls_per_image", "safe_after_median_s", "safe_after_p99_s")
FREE = ("images_per_second", "other_calls_per_image")
"""Without a limit all cores are busy, and how long an image waits is how long the queue happens to be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One contestant in one scenario: medians of its measured rounds, and of simulated ones."""

    scenario: str
    contestant: str
    measured: Figures
    simulated: Figures

    @property
    def figures(self) -> tuple[str, ...]:
        """Those that can be compared."""
        names = LIMITED if self.measured.get("allowance_used") is not None else FREE
        return tuple(name for name in names if self.measured.get(name) and self.simulated.get(name))

    def off_by(self, figure: str) -> float:
        """0.05: the simulation says a twentieth more."""
        return (self.simulated[figure] or 0.0) / (self.measured[figure] or 1.0) - 1


def pairs(book: Book) -> Iterator[Pair]:
    """Of every scenario and contestant of ours whose costs are in the book."""
    for name in HELD:
        for contestant in CONTESTANTS.values():
            rounds = book.rounds(name, contestant.name)
            if not contestant.is_ours or not rounds:
                continue
            measured = medians(list(rounds.values()))
            if (costs := costs_of(measured, book.sheets.get("doors", {}))) is not None:
                scenario = scenario_of(book.scenarios[name])
                simulated = simulate(
                    scenario,
                    costs=costs,
                    workers=len(contestant.workers),
                    is_sqlite=not contestant.on_postgres,
                    cores=_cores(book, scenario, measured),
                )
                yield Pair(scenario=name, contestant=contestant.name, measured=measured, simulated=simulated)


def _cores(book: Book, scenario: Scenario, measured: Mapping[str, float | None]) -> float:
    """Those of the machine; where all are wanted, only those that nobody else used meanwhile."""
    left = measured.get("cores_left")
    return float(book.machine["cores"]) if scenario.creates_per_second or left is None else left


def scenario_of(facts: Mapping[str, Any]) -> Scenario:
    """As it was run, whatever it is by now."""
    known = Scenario.__dataclass_fields__
    return Scenario(**{name: value for name, value in facts.items() if name in known})
