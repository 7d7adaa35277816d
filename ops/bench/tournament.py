"""Who runs what in which order: contestants take turns, round by round."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ops.bench.book import Figures, opened
from ops.bench.contestants import Contestant
from ops.bench.run import Run, RunFailed
from ops.bench.scenarios import Scenario
from ops.bench.servers import Servers


@dataclass(frozen=True, slots=True, kw_only=True)
class Programme:
    """What is to be run. `seconds` bounds the whole: no run is begun that the longest one so far would not fit into."""

    events: Sequence[tuple[Scenario, Sequence[Contestant]]]
    """Who takes part in what."""

    rounds: int
    seconds: float

    def turns(self) -> Iterator[tuple[int, Scenario, Contestant]]:
        """Each round meets everybody, the next one beginning with somebody else: no one always runs on a warm disk."""
        for number in range(self.rounds):
            for scenario, contestants in self.events:
                start = number % max(1, len(contestants))
                yield from ((number, scenario, one) for one in (*contestants[start:], *contestants[:start]))


def play(programme: Programme, results: Path) -> None:
    """Run it all, keeping each run. A run that failed is noted, and is no median's business."""
    _announce(programme, results)
    play_id = f"{time.time():.6f}"
    began, longest = time.monotonic(), 0.0
    with tempfile.TemporaryDirectory(prefix="imagejobs-bench-") as folder, Servers(Path(folder, "servers")) as servers:
        for number, scenario, contestant in programme.turns():
            started = time.monotonic()
            if started + longest > began + programme.seconds:
                print(f"the time is up: stopped in round {number + 1}", file=sys.stderr)
                return
            run = _one(number, scenario, contestant, servers=servers, folder=Path(folder))
            with opened(results) as book:
                book.runs.append({"play": play_id, **run})
            longest = max(longest, time.monotonic() - started)


def _announce(programme: Programme, results: Path) -> None:
    """What is measured anew is no longer what was measured before."""
    with opened(results) as book:
        for scenario, contestants in programme.events:
            book.scenarios[scenario.name] = asdict(scenario)
            book.sign(scenario.name)
            book.contestants |= {contestant.name: contestant.title for contestant in contestants}
            for contestant in contestants:
                book.forget(scenario.name, contestant.name)


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
