"""Where an image's CPU time goes in ours: one run with dissected workers, as a table of milliseconds by part."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ops.bench.contestants import CONTESTANTS
from ops.bench.dissect import MAIN_THREAD, TELL
from ops.bench.family import Family
from ops.bench.run import Run
from ops.bench.scenarios import SCENARIOS, Scenario
from ops.bench.servers import Servers
from ops.bench.verbs import Verb

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


def dissect(contestant: str, scenario: Scenario) -> str:
    """The table of one run, as Markdown."""
    with tempfile.TemporaryDirectory(prefix="imagejobs-bench-") as folder, Servers(Path(folder, "servers")) as servers:
        own = Path(folder, "run")
        own.mkdir()
        worker = (sys.executable, "-m", "ops.bench.dissect", str(own / "sums"))
        dissected = replace(CONTESTANTS[contestant], workers=tuple(worker for _ in CONTESTANTS[contestant].workers))
        run = DissectedRun(dissected, scenario, servers=servers, folder=own)
        images = int(run.measure()["images"] or 0)
    return table(run.before, run.after, images=images)


def table(before: list[Sums], after: list[Sums], *, images: int) -> str:
    """Milliseconds of CPU an image, and calls an image, most first; the last line is their sum."""
    seconds, calls = grown(before, after, "seconds"), grown(before, after, "calls")
    process = grown(before, after, "process")
    seconds[MAIN_THREAD] = process[MAIN_THREAD]
    seconds[REST] = process["all"] - sum(seconds.values())
    lines = ["| part | CPU ms/image | share | calls/image |", "| --- | ---: | ---: | ---: |"]
    for part, spent in sorted(seconds.items(), key=lambda item: -item[1]):
        often = f"{calls[part] / images:.3f}" if part in calls else ""
        lines.append(f"| {part} | {spent * 1000 / images:.3f} | {spent / process['all']:.1%} | {often} |")
    return "\n".join([*lines, f"| all | {process['all'] * 1000 / images:.3f} | 100.0% | |"])


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
    parser.add_argument("--contestant", choices=ours, default=ours[0])
    parser.add_argument("--scenario", choices=SCENARIOS, default="S1")
    parser.add_argument("--jobs", type=int, help="rows (default: the scenario's)")


def _run(given: argparse.Namespace) -> None:
    print(dissect(given.contestant, SCENARIOS[given.scenario].of(given.jobs)))


VERB = Verb(
    name="anatomy", help="where an image's CPU time goes in ours, printed as a table", run=_run, options=_options
)
