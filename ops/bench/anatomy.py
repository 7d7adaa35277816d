"""Where an image's CPU time goes in ours: one run with dissected workers, as milliseconds by part."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from ops.bench.book import Figures
from ops.bench.contestants import CONTESTANTS
from ops.bench.dissect import MAIN_THREAD, TELL
from ops.bench.family import Family
from ops.bench.run import Run
from ops.bench.scenarios import SCENARIOS, Scenario
from ops.bench.servers import Servers
from ops.bench.verbs import Measurement

REST = "Celery: a task's way through kombu and pool, threads"
TELL_SECONDS = 20.0
Sums = Mapping[str, Mapping[str, float]]


class DissectedRun(Run):
    """A run whose workers tell their sums when counting begins, and when it ends."""

    before: list[Sums]
    after: list[Sums]

    def counting_begins(self, family: Family) -> None:
        self.before = self._told(family)

    def counting_ends(self, family: Family) -> None:
        self.after = self._told(family)

    def _told(self, family: Family) -> list[Sums]:
        """Ask every worker, and wait for its answer."""
        asked = family.signal(TELL)
        reports = [self.folder / f"sums.{pid}" for pid in asked]
        until = time.monotonic() + TELL_SECONDS
        while not all(report.exists() for report in reports) and time.monotonic() < until:
            time.sleep(0.05)
        told: list[Sums] = [json.loads(report.read_text(encoding="utf-8")) for report in reports]
        for report in reports:
            report.unlink()
        return told


def dissect(contestant: str, scenario: Scenario) -> tuple[Figures, Figures]:
    """Of one run: CPU milliseconds an image by part, most first, and calls an image."""
    with tempfile.TemporaryDirectory(prefix="imagejobs-bench-") as folder, Servers(Path(folder, "servers")) as servers:
        own = Path(folder, "run")
        own.mkdir()
        worker = (sys.executable, "-m", "ops.bench.dissect", str(own / "sums"))
        dissected = replace(CONTESTANTS[contestant], workers=tuple(worker for _ in CONTESTANTS[contestant].workers))
        run = DissectedRun(dissected, scenario, servers=servers, folder=own)
        images = int(run.measure()["images"] or 0)
    return by_part(run.before, run.after, images=images)


def by_part(before: list[Sums], after: list[Sums], *, images: int) -> tuple[Figures, Figures]:
    """Milliseconds of CPU an image, most first, their sum at the end; and calls an image."""
    seconds, calls = grown(before, after, "seconds"), grown(before, after, "calls")
    process = grown(before, after, "process")
    seconds[MAIN_THREAD] = process[MAIN_THREAD]
    seconds[REST] = process["all"] - sum(seconds.values())
    parts = sorted(seconds.items(), key=lambda item: -item[1])
    spent: Figures = {part: of * 1000 / images for part, of in (*parts, ("all", process["all"]))}
    return spent, {part: count / images for part, count in calls.items()}


def grown(before: list[Sums], after: list[Sums], what: str) -> dict[str, float]:
    """How much more there is of each, over all workers."""
    total: dict[str, float] = defaultdict(float)
    for sums, sign in ((after, 1), (before, -1)):
        for told in sums:
            for name, value in told[what].items():
                total[name] += sign * value
    return total


def _options(parser: argparse.ArgumentParser) -> None:
    ours = [name for name, contestant in CONTESTANTS.items() if contestant.is_ours]
    parser.add_argument("--contestant", choices=ours, default="imagejobs-sqlite-2")
    parser.add_argument("--scenario", choices=SCENARIOS, default="S1")
    parser.add_argument("--jobs", type=int, help="rows (default: the scenario's)")


def _measure(given: argparse.Namespace) -> Iterator[tuple[str, Figures]]:
    scenario = SCENARIOS[given.scenario].of(given.jobs)
    spent, calls = dissect(given.contestant, scenario)
    yield f"{given.contestant}, {scenario.name}: CPU ms/image", spent
    yield "calls/image", calls


MEASUREMENT = Measurement(
    name="anatomy",
    help="where an image's CPU time goes in ours",
    title="Where an image's CPU time goes in ours",
    measure=_measure,
    options=_options,
)
