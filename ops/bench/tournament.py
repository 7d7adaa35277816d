"""Who runs what in which order, and the book of results: contestants take turns, round by round."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from ops.bench.contestants import Contestant
from ops.bench.facts import machine, versions
from ops.bench.run import Run, RunFailed
from ops.bench.scenarios import Scenario
from ops.bench.servers import Servers

Figures = dict[str, float | None]


@dataclass(slots=True)
class Book:
    """Everything that was measured, as it is kept in JSON. `runs` and `million` grow by one mapping a measurement."""

    made_at: str
    machine: dict[str, Any]
    versions: dict[str, str]
    scenarios: dict[str, dict[str, Any]] = field(default_factory=dict)
    contestants: dict[str, str] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)
    million: list[dict[str, Any]] = field(default_factory=list)
    idle: Figures = field(default_factory=dict)

    @classmethod
    def begin(cls) -> Self:
        """An empty one, with this machine and these versions."""
        return cls(made_at=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), machine=machine(), versions=versions())

    @classmethod
    def read(cls, path: Path) -> Self:
        """As it was written."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def write(self, path: Path) -> None:
        """Keep it: after every measurement, for a long night may be cut short."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    def rounds(self, scenario: str, contestant: str) -> dict[int, Figures]:
        """The figures of one contestant in one scenario, by round; rounds that failed are left out."""
        return {
            run["round"]: run["figures"]
            for run in self.runs
            if (run["scenario"], run["contestant"]) == (scenario, contestant) and run["figures"] is not None
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Programme:
    """What is to be run. `seconds` bounds the whole: no run is begun that the longest one so far would not fit into."""

    scenarios: Sequence[Scenario]
    contestants: Sequence[Contestant]
    rounds: int
    seconds: float

    def turns(self) -> Iterator[tuple[int, Scenario, Contestant]]:
        """Each round meets everybody, the next one beginning with somebody else: no one always runs on a warm disk."""
        for number in range(self.rounds):
            start = number % max(1, len(self.contestants))
            order = [*self.contestants[start:], *self.contestants[:start]]
            yield from ((number, scenario, contestant) for scenario in self.scenarios for contestant in order)


def play(programme: Programme, book: Book, path: Path) -> None:
    """Run it all, writing the book after each run. A run that failed is noted, and is no median's business."""
    book.scenarios |= {scenario.name: asdict(scenario) for scenario in programme.scenarios}
    book.contestants |= {contestant.name: contestant.title for contestant in programme.contestants}
    began, longest = time.monotonic(), 0.0
    with tempfile.TemporaryDirectory(prefix="imagejobs-bench-") as folder, Servers(Path(folder, "servers")) as servers:
        for number, scenario, contestant in programme.turns():
            started = time.monotonic()
            if started + longest > began + programme.seconds:
                print(f"the time is up: stopped in round {number + 1}", file=sys.stderr)
                return
            book.runs.append(_one(number, scenario, contestant, servers=servers, folder=Path(folder)))
            book.write(path)
            longest = max(longest, time.monotonic() - started)


def _one(number: int, scenario: Scenario, contestant: Contestant, *, servers: Servers, folder: Path) -> dict[str, Any]:
    own = Path(tempfile.mkdtemp(dir=folder, prefix=f"{contestant.name}-"))
    figures: Figures | None = None
    error = None
    try:
        figures = Run(contestant, scenario, servers=servers, folder=own).measure()
    except RunFailed as failed:
        error = str(failed)
    print(f"{scenario.name} {contestant.name} round {number + 1}: {error or _brief(figures or {})}", file=sys.stderr)
    return {
        "scenario": scenario.name,
        "contestant": contestant.name,
        "round": number,
        "figures": figures,
        "error": error,
    }


def _brief(figures: Figures) -> str:
    shown = ("images", "images_per_second", "cpu_ms_per_image", "allowance_used", "lost", "paid_twice")
    return ", ".join(f"{name} {figures[name]:.4g}" for name in shown if figures.get(name) is not None)
