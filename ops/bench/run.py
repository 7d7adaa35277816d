"""One run of one contestant in one scenario: started, warmed up, measured, ended."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ops.bench import measures, meter
from ops.bench.contestants import ROOT, Contestant, environ_of, filled
from ops.bench.family import Family
from ops.bench.meter import Reading
from ops.bench.scenarios import Scenario
from ops.bench.servers import Provider, Servers
from ops.bench.watch import Watch

LOOK_SECONDS = 0.2
START_SECONDS = 120.0  # for the warm-up, on a slow machine
QUIET_SHARE = 0.05  # of a core: a family that uses less has done what it had to do for its images
STORE_CALLS = ("puts", "puts_refused", "gets", "heads", "deletes", "posts")
QUIET_LOOK_SECONDS, QUIET_WITHIN_SECONDS = 0.5, 15.0


class RunFailed(Exception):
    """The contestant did not start, or could not be given its rows."""


class Run:
    """`measure` returns the figures of one run, by name; None where a figure means nothing."""

    def __init__(self, contestant: Contestant, scenario: Scenario, *, servers: Servers, folder: Path) -> None:
        self.contestant = contestant
        self.scenario = scenario
        self.servers = servers
        self.folder = folder
        self.rows = write_rows(folder / "rows.jsonl", scenario, "picture", scenario.jobs)

    def measure(self) -> dict[str, float | None]:
        """Raises RunFailed, with the end of the processes' log."""
        with (
            Provider(self.folder / "sandbox", self.scenario) as provider,
            Family(folder=self.folder, environ=self._environ(provider)) as family,
        ):
            self.servers.sink.reset()
            self._warm_up(family, provider)
            return self.measured(family, provider)

    def _environ(self, provider: Provider) -> dict[str, str]:
        given = self.servers.environ(provider)
        given |= {"IMAGEJOBS_HOME": str(self.folder / "home")}
        if self.contestant.is_ours and self.contestant.on_postgres:
            given |= {"DATABASE_URL": self.servers.new_database()}
        self._given = environ_of(self.contestant, self.scenario, given)
        return self._given

    def _warm_up(self, family: Family, provider: Provider) -> None:
        """Start the workers and have a few images made; only then do the provider and the sink begin to count.

        A script makes the few in a life of its own: so the provider at least has drawn its pictures.
        """
        warm = write_rows(self.folder / "warm.jsonl", self.scenario, "warm", self.scenario.warm_up_jobs)
        family.start(self.contestant.commands(self.scenario, warm))
        if not self.scenario.warm_up_jobs:
            return
        if not self.contestant.is_script:
            self.bring(warm)
        until = time.monotonic() + START_SECONDS
        while not self._is_warm(family):
            if time.monotonic() > until or not family.is_running:
                raise RunFailed(f"{self.contestant.name} did not warm up: {self._log()}")
            time.sleep(LOOK_SECONDS)
        self._let_quiet_down(family)
        provider.reset()
        self.servers.sink.reset()

    def counting_begins(self, family: Family) -> None:
        """For a run that wants to know more of its processes: called before the first row is brought."""

    def counting_ends(self, family: Family) -> None:
        """The same, when all images are there and the family is quiet."""

    def while_it_waits(self, images: int) -> None:
        """The same, now and then while images come."""

    def further_figures(self, _made: list[measures.Made], _arrivals: Mapping[str, float], /) -> dict[str, float | None]:
        """The same, at the end."""
        return {}

    def _is_warm(self, family: Family) -> bool:
        has_all = self.servers.sink.images() >= self.scenario.warm_up_jobs
        return has_all and not (self.contestant.is_script and family.is_running)

    def measured(self, family: Family, provider: Provider) -> dict[str, float | None]:
        """The figures, from here on where everybody is warm."""
        provider.faults([dict(rule) for rule in self.scenario.faults])
        watch = Watch(family)
        self.counting_begins(family)
        before, enqueue_seconds = self._read(family, provider), None
        cpu_before = before.family
        if self.contestant.is_script:
            family.kill()
            family.start(self.contestant.commands(self.scenario, self.rows))
            cpu_before = self._cpu_at_first_create(family, provider)
        else:
            enqueue_seconds = self.bring(self.rows)
        begun = self._read(family, provider)
        self._wait(watch)
        safe = self._read(family, provider)
        self._let_quiet_down(family)
        self.counting_ends(family)
        watch.weigh(share=1.0)
        after = self._read(family, provider)
        figures = self._figures(provider, cpu=after.family - cpu_before)
        images = int(figures["images"] or 0)
        return {
            **figures,
            "kills": watch.kills,
            **watch.figures(),
            **meter.per_image(before, after, images),
            "worked_cpu_ms_per_image": measures.per((safe.family - cpu_before) * 1000, images),
            "cores_left": meter.cores_left(begun, safe),
            "enqueue_cpu_ms_per_row": enqueue_seconds and enqueue_seconds * 1000 / self.scenario.jobs,
        }

    def _read(self, family: Family, provider: Provider) -> Reading:
        return Reading.of(family, self.servers, provider)

    def _cpu_at_first_create(self, family: Family, provider: Provider) -> float:
        """A script's imports are not counted, as those of workers are not."""
        while family.is_running and not provider.stats()["creates_accepted"]:
            time.sleep(0.02)
        return family.cpu_seconds()

    def bring(self, rows: Path, *options: str) -> float:
        """Bring rows to the queue. Returns the CPU time that it cost."""
        command = [*filled(self.contestant.enqueue, self.scenario, rows), *options]
        with (self.folder / "enqueue.log").open("ab") as log:
            process = subprocess.Popen(
                command, cwd=ROOT, env=self._given, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RunFailed(f"{command}: {self._log('enqueue.log')}")
        return usage.ru_utime + usage.ru_stime

    def _wait(self, watch: Watch) -> None:
        """Until every row has its image, or none has come for so long that none will."""
        images, seen_at = 0, time.monotonic()
        while images < self.scenario.jobs:
            time.sleep(LOOK_SECONDS)
            watch.weigh(share=images / self.scenario.jobs)
            self.while_it_waits(images)
            ended = not watch.family.is_running
            now = self.servers.sink.images()
            if now > images:
                images, seen_at = now, time.monotonic()
            elif ended or time.monotonic() > seen_at + self.scenario.patience_seconds:
                return
            if self._is_time_to_kill(images, watch):
                watch.kills += 1
                watch.family.kill()
                watch.family.start(self.contestant.commands(self.scenario, self.rows))

    def _let_quiet_down(self, family: Family) -> None:
        """What follows the last image (acknowledgements, a manifest) belongs to the images' cost."""
        until = time.monotonic() + QUIET_WITHIN_SECONDS
        marker = self.contestant.marker
        while marker and not self.servers.sink.has(marker) and time.monotonic() < until:
            time.sleep(LOOK_SECONDS)
        before, used = family.cpu_seconds(), QUIET_LOOK_SECONDS
        while family.is_running and used > QUIET_SHARE * QUIET_LOOK_SECONDS and time.monotonic() < until:
            time.sleep(QUIET_LOOK_SECONDS)
            now = family.cpu_seconds()
            before, used = now, now - before

    def _is_time_to_kill(self, images: int, watch: Watch) -> bool:
        share = self.scenario.kill_at
        return share is not None and not watch.kills and images >= share * self.scenario.jobs

    def _figures(self, provider: Provider, *, cpu: float) -> dict[str, float | None]:
        made, stats = provider.made(), provider.stats()
        counts, arrivals = self.servers.sink.arrivals()
        own = provider_figures(made, stats, arrivals, scenario=self.scenario) | self.further_figures(made, arrivals)
        return own | {
            "cpu_ms_per_image": measures.per(cpu * 1000, len(arrivals)),
            "puts_of_images": counts.get("images_intact", 0),
            "images_broken": counts.get("images_broken", 0),
            "store_requests_per_image": measures.per(sum(counts.get(name, 0) for name in STORE_CALLS), len(arrivals)),
            "store_bytes_per_image": measures.per(counts.get("bytes", 0), len(arrivals)),
        }

    def _log(self, name: str = "family.log") -> str:
        return (self.folder / name).read_text(encoding="utf-8", errors="replace")[-1500:]


def alone(kind: type[Run], contestant: Contestant, scenario: Scenario) -> dict[str, float | None]:
    """The figures of one run with servers of its own."""
    with tempfile.TemporaryDirectory(prefix="imagejobs-bench-") as folder, Servers(Path(folder, "servers")) as servers:
        own = Path(folder, "run")
        own.mkdir()
        return kind(contestant, scenario, servers=servers, folder=own).measure()


def provider_figures(
    made: list[measures.Made], stats: Mapping[str, Any], arrivals: Mapping[str, float], *, scenario: Scenario
) -> dict[str, float | None]:
    """What follows from the servers' own counts."""
    created = [one.created_at for one in made]
    rate, burst = scenario.creates_per_second, scenario.burst
    waits = measures.latencies(made, arrivals)
    images = len(arrivals)
    took = max(arrivals.values()) - min(created) if arrivals and created else None
    other_calls = sum(stats["arrived"].get(name, 0) for name in ("get", "list", "cancel"))
    return {
        "images": images,
        "images_per_second": took and images / took,
        "allowance_used": measures.allowance_used(created, creates_per_second=rate, burst=burst),
        "safe_per_create_allowed": measures.safe_per_create_allowed(
            images, created, creates_per_second=rate, burst=burst
        ),
        "replies_429": stats["creates_limited"] + stats["calls_limited"],
        "other_calls_per_image": measures.per(other_calls, images),
        "creates_accepted": len(made),
        "lost": scenario.jobs - images,
        "paid_twice": measures.paid_twice(made),
        "safe_after_median_s": measures.quantile(waits, 0.5),
        "safe_after_p99_s": measures.quantile(waits, 0.99),
    }


def write_rows(path: Path, scenario: Scenario, word: str, count: int) -> Path:
    """A file of rows; a row's prompt is its own, by which provider and sink know it again."""
    side = {"width": scenario.side_px, "height": scenario.side_px}
    rows = ({"id": f"r{one:06}", "prompt": f"{word} {one:06}", "seed": one, **side} for one in range(count))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
