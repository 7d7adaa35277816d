"""S5: what a ledger of a million rows costs, step by step, beside one of a thousand.

Commands are timed as processes; single steps in this one, against a ledger with as many finished jobs as queued ones.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from imagejobs.ledger import Ledger
from imagejobs.settings import Settings
from ops.bench.book import Figures
from ops.bench.contestants import PEERS, ROOT
from ops.bench.servers import Servers
from ops.bench.shelf import Shelf
from ops.bench.verbs import Measurement

LEDGERS = ("sqlite", "postgres")
SMALL = 1000  # rows of the ledger that the large one is held against
DELAYED = 3000  # rows that naive Celery enqueues: its rate does not depend on how many
STEP, TIMES = 20, 40  # jobs that a step takes together, and how often it is timed; both fit into the small ledger
PROMPT = "a lighthouse on a cliff above a wild sea, storm clouds, long exposure, film grain, muted colours, " * 3
MB = 1e6
Returned = TypeVar("Returned")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one command, as the kernel has it."""

    seconds: float
    cpu_seconds: float
    peak_mb: float


class Million:
    """One home, one ledger, one Redis database."""

    def __init__(self, folder: Path, *, servers: Servers, ledger: str) -> None:
        self._folder = folder
        self._servers = servers
        redis_url = servers.valkey.fresh_url()
        self.environ = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LC_ALL": "C.UTF-8",
            "PYTHONPATH": str(ROOT),
            "IMAGEJOBS_HOME": str(folder),
            "REDIS_URL": redis_url,
            "DATABASE_URL": servers.new_database() if ledger == "postgres" else f"sqlite:///{folder / 'ledger.sqlite'}",
            "REPLICATE_BASE_URL": "http://127.0.0.1:9",  # nobody there: nothing here may ask the provider
            "REPLICATE_API_TOKEN": "none",
        }

    def figures(self, rows: int) -> Figures:
        """Everything, at this size."""
        done, waiting = (write_rows(self._folder / f"{name}.jsonl", rows, name) for name in ("done", "waiting"))
        settings = Settings.read(self.environ)
        found = self._submit(done, rows)
        with Ledger(settings.database) as ledger:
            Shelf(ledger, account=settings.account_name).finish()
        found |= self._export(rows)
        self.command("submit", str(waiting), "--batch", "waiting")
        with Ledger(settings.database) as ledger:
            found |= steps(ledger, account=settings.account_name)
        return found | self._steering(rows)

    def command(self, *arguments: str) -> Cost:
        """One `imagejobs` command. Raises CalledProcessError when it fails."""
        return timed([sys.executable, "-m", "producer", *arguments], environ=self.environ, folder=self._folder)

    def _submit(self, path: Path, rows: int) -> Figures:
        before = self._servers.redis_info()["used_memory"]
        cost = self.command("submit", str(path), "--batch", "done")
        after = self._servers.redis_info()["used_memory"]
        return {
            "submit_rows_per_second": rows / cost.seconds,
            "submit_cpu_us_per_row": cost.cpu_seconds * 1e6 / rows,
            "submit_peak_mb": cost.peak_mb,
            "redis_memory_after_submit_mb": (after - before) / MB,
        }

    def _export(self, rows: int) -> Figures:
        found: Figures = {}
        for form in ("jsonl", "parquet"):
            cost = self.command("export", "done", "--format", form, "--to", str(self._folder / f"table.{form}"))
            found |= _rates(f"export_{form}", cost, rows)
        return found

    def _steering(self, rows: int) -> Figures:
        found = _rates("failures", self.command("failures", "done", "--json"), rows // 10)
        found |= _rates("retry", self.command("retry", "done", "--yes"), rows // 10)
        found |= _rates("cancel", self.command("cancel", "waiting"), rows)
        found["status_command_seconds"] = self.command("status", "--json").seconds
        return found


def steps(ledger: Ledger, *, account: str) -> Figures:
    """Median milliseconds of what is done all the time, whatever the ledger's size."""
    shelf = Shelf(ledger, account=account)
    status_ms, _ = _timed(lambda _: ledger.batches.get("waiting"), range(TIMES))
    feed_ms, fed = _timed(shelf.feed, [STEP] * TIMES)
    claim_ms, claimed = _timed(shelf.claim, fed)
    transition_ms, _ = _timed(shelf.accept, claimed)
    if sum(map(len, claimed)) != STEP * TIMES:
        raise ValueError("too few jobs were there to be claimed: the steps did nothing")
    return {"status_ms": status_ms, "feed_turn_ms": feed_ms, "claim_ms": claim_ms, "transition_ms": transition_ms}


def measure(ledger: str, rows: int) -> Figures:
    """The figures at this size, and of the steps the ratio to a small ledger's. `ledger` is one of `LEDGERS`."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="imagejobs-million-")))
        servers = stack.enter_context(Servers(folder / "servers"))
        small = Million(_made(folder / "small"), servers=servers, ledger=ledger).figures(SMALL)
        large = Million(_made(folder / "large"), servers=servers, ledger=ledger).figures(rows)
        naive = celery_delay(_made(folder / "celery"), servers=servers)
    grown = {f"{name}_to_{SMALL}_rows": _ratio(large[name], small[name]) for name in large if name.endswith("_ms")}
    own = large["submit_rows_per_second"]
    return {**large, **grown, "celery_delay_rows_per_second": naive, "submit_to_celery_delay": _ratio(own, naive)}


def celery_delay(folder: Path, *, servers: Servers) -> float | None:
    """Rows a second that naive Celery enqueues; None where the peers are not installed."""
    if not (PEERS / "python").exists():
        return None
    rows = write_rows(folder / "rows.jsonl", DELAYED, "celery")
    told = {"BENCH_IN_FLIGHT": "1", "BENCH_POLL_SECONDS": "1", "BENCH_CREATES_PER_SECOND": "0", "BENCH_BUCKET": "none"}
    told |= {"REPLICATE_BASE_URL": "none", "REPLICATE_API_TOKEN": "none", "BENCH_VERSION": "none"}
    environ = {**told, "PATH": os.defpath, "PYTHONPATH": str(ROOT), "REDIS_URL": servers.valkey.fresh_url()}
    command = [str(PEERS / "python"), "-m", "ops.bench.peers.celery_app"]
    nothing = write_rows(folder / "nothing.jsonl", 0, "celery")
    start = timed([*command, str(nothing)], environ=environ, folder=folder).seconds
    return DELAYED / (timed([*command, str(rows)], environ=environ, folder=folder).seconds - start)


def timed(command: list[str], *, environ: Mapping[str, str], folder: Path) -> Cost:
    """Run it. Raises CalledProcessError, with what it said, when it fails."""
    log = folder / "command.log"
    began = time.monotonic()
    with log.open("wb") as said:
        process = subprocess.Popen(
            command, cwd=ROOT, env=dict(environ), stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )
        _, status, usage = os.wait4(process.pid, 0)
    took = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, log.read_bytes()[-2000:])
    return Cost(seconds=took, cpu_seconds=usage.ru_utime + usage.ru_stime, peak_mb=usage.ru_maxrss * 1024 / MB)


def write_rows(path: Path, count: int, word: str) -> Path:
    """Rows of about 480 bytes, as a night's prompts are."""
    with path.open("w", encoding="utf-8") as file:
        for one in range(count):
            row = {"id": f"{word}-{one:07}", "prompt": f"{PROMPT}{one}", "seed": one, "width": 512, "height": 512}
            file.write(json.dumps(row) + "\n")
    return path


def _rates(name: str, cost: Cost, rows: int) -> Figures:
    return {f"{name}_rows_per_second": rows / cost.seconds, f"{name}_peak_mb": cost.peak_mb}


def _timed(step: Callable[[Any], Returned], given: Sequence[Any]) -> tuple[float, list[Returned]]:
    """The median milliseconds of a call, and what each returned."""
    took, returned = [], []
    for one in given:
        began = time.perf_counter()
        returned.append(step(one))
        took.append((time.perf_counter() - began) * 1000)
    return median(took), returned


def _ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--ledger", nargs="+", choices=LEDGERS, default=LEDGERS)


def _measure(given: argparse.Namespace) -> Iterator[tuple[str, Figures]]:
    for ledger in given.ledger:
        yield f"{ledger}, {given.rows:,} rows", measure(ledger, given.rows)


MEASUREMENT = Measurement(
    name="million",
    help="S5: what a ledger of that many rows costs",
    title="S5: a million rows",
    measure=_measure,
    options=_options,
)
