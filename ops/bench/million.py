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
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TypeVar

from sqlalchemy import select, update

from imagejobs.ledger import Ledger
from imagejobs.ledger.bulk import among
from imagejobs.ledger.rows import parts
from imagejobs.ledger.steering import CHUNK
from imagejobs.ledger.tables import jobs
from imagejobs.settings import Settings
from imagejobs.states import State
from ops.bench.book import Figures
from ops.bench.contestants import PEERS, ROOT
from ops.bench.servers import Servers
from ops.bench.shelf import FAILED_EVERY, Shelf
from ops.bench.verbs import Measurement

LEDGERS = ("sqlite", "postgres")
SMALL = 1000  # rows of the ledger that the large one is held against
DELAYED = 10_000  # rows that naive Celery enqueues: its rate does not depend on how many
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

    def fill(self, rows: int) -> Figures:
        """As many finished jobs as queued ones, and what it cost."""
        done, waiting = (write_rows(self._folder / f"{name}.jsonl", rows, name) for name in ("done", "waiting"))
        found = self._submit(done, rows)
        with self.ledger() as ledger:
            Shelf(ledger, account=self.account).finish()
        self.command("submit", str(waiting), "--batch", "waiting")
        return found

    def ledger(self) -> Ledger:
        """Its ledger, opened here."""
        return Ledger(Settings.read(self.environ).database)

    @property
    def account(self) -> str:
        """Whose rows they are."""
        return Settings.read(self.environ).account_name

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

    def export(self, rows: int) -> Figures:
        """The finished batch, in both formats."""
        found: Figures = {}
        for form in ("jsonl", "parquet"):
            cost = self.command("export", "done", "--format", form, "--to", str(self._folder / f"table.{form}"))
            found |= _rates(f"export_{form}", cost, rows)
        return found

    def steer(self, rows: int) -> Figures:
        """What a person does to many jobs at once, and `status` after it.

        Of the failed ones, there is one in ten, so each is alone on its page of the database; the canceled ones stand
        together, as those do that an outage let fail.
        """
        found = _rates("failures", self.command("failures", "done", "--json"), rows // FAILED_EVERY)
        found |= _rates("retry", self.command("retry", "done", "--yes"), rows // FAILED_EVERY)
        found |= _rates("cancel", self.command("cancel", "waiting"), rows)
        found["status_command_seconds"] = self.command("status", "--json").seconds
        return found | _rates("retry_together", self.command("retry", "waiting", "--canceled", "--yes"), rows)


class Steps:
    """What is done all the time, whatever the ledger's size, with the milliseconds that each took."""

    def __init__(self, ledger: Ledger, *, account: str) -> None:
        self._ledger = ledger
        self._shelf = Shelf(ledger, account=account)
        self._took: dict[str, list[float]] = defaultdict(list)

    def once(self) -> None:
        """Each of them. Raises ValueError when there is nothing left to be claimed."""
        self._timed("status", lambda: self._ledger.batches.get("waiting"))
        fed = self._timed("feed_turn", lambda: self._shelf.feed(STEP))
        claimed = self._timed("claim", lambda: self._shelf.claim(fed))
        self._timed("transition", lambda: self._shelf.accept(claimed))
        if len(claimed) != STEP:
            raise ValueError("too few jobs were there to be claimed: the steps did nothing")

    def figures(self) -> Figures:
        """Medians."""
        return {f"{step}_ms": median(took) for step, took in self._took.items()}

    def _timed(self, step: str, call: Callable[[], Returned]) -> Returned:
        began = time.perf_counter()
        returned = call()
        self._took[step].append((time.perf_counter() - began) * 1000)
        return returned


def compared(large: Million, small: Million) -> Figures:
    """The steps of both, in turns, and what the large one's are to the small one's.

    In turns, since most of a step is the disk's time to commit it, which changes by the minute. And once all that was
    written before is on the disk, else a commit waits for some of that too.
    """
    os.sync()
    with large.ledger() as much, small.ledger() as little:
        both = Steps(much, account=large.account), Steps(little, account=small.account)
        for _ in range(TIMES):
            for steps in both:
                steps.once()
    found, to = (steps.figures() for steps in both)
    return found | {f"{name}_to_{SMALL}_rows": _ratio(found[name], to[name]) for name in found}


def bare_updates(ledger: Ledger, rows: int) -> Figures:
    """What the database alone takes to move a batch's jobs from one state to another, as a retry must too.

    In parts of CHUNK, by key, as the retry does it; the counters are left as they are: this ledger has served.
    """
    failed = {"state": State.FAILED.value, "cause": "unknown", "error": "CUDA error", "error_key": "CUDA error"}
    with ledger.database.read() as connection:
        retried = select(jobs.c.id).where(jobs.c.state == State.QUEUED.value).order_by(jobs.c.id).limit(rows)
        ids = connection.execute(retried).scalars().all()
    began = time.monotonic()
    for some in parts(ids, CHUNK):
        with ledger.database.write() as connection:
            connection.execute(update(jobs).where(among(connection, some)).values(**failed, finished_at=began))
    return {"bare_update_rows_per_second": len(ids) / (time.monotonic() - began)}


def measure(ledger: str, rows: int) -> Figures:
    """The figures at this size, and of the steps the ratio to a small ledger's. `ledger` is one of `LEDGERS`."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="imagejobs-million-")))
        servers = stack.enter_context(Servers(folder / "servers"))
        small, large = (Million(_made(folder / name), servers=servers, ledger=ledger) for name in ("small", "large"))
        small.fill(SMALL)
        delays = [celery_delay(_made(folder / "delays-1"), servers=servers)]
        found = large.fill(rows)
        delays.append(celery_delay(_made(folder / "delays-2"), servers=servers))
        found |= large.export(rows) | compared(large, small) | large.steer(rows)
        with large.ledger() as used:
            found |= bare_updates(used, rows // FAILED_EVERY)
        delays.append(celery_delay(_made(folder / "delays-3"), servers=servers))
    known = [rate for rate in delays if rate is not None]
    own, naive = found["submit_rows_per_second"], median(known) if known else None
    return {**found, "celery_delay_rows_per_second": naive, "submit_to_celery_delay": _ratio(own, naive)}


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
