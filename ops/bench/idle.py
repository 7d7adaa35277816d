"""What it costs to start, and to do nothing: a command's help, a worker's first claim, an idle worker."""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from imagejobs.ledger import Ledger
from ops.bench.book import Figures
from ops.bench.contestants import CONTESTANTS, environ_of
from ops.bench.family import Family
from ops.bench.million import timed
from ops.bench.run import write_rows
from ops.bench.scenarios import S4
from ops.bench.servers import DurablePostgres, Provider, Servers
from ops.bench.verbs import Measurement

TIMES = 5
IDLE_SECONDS = 60.0
CALM_SECONDS = 15.0  # after the batch is closed, for sweeps that look longer ahead each time
CLOSED_WITHIN_SECONDS = 120.0
STATEMENT = re.compile(rb"LOG:  (?:statement|execute)")


class TellingPostgres(DurablePostgres):
    """It writes every statement into its log, where they can be counted."""

    def command(self) -> Sequence[str]:
        return [*super().command(), "-c", "log_statement=all"]

    def statements(self) -> int:
        """How many there have been."""
        return len(STATEMENT.findall(self.log.read_bytes()))


def measure(_: argparse.Namespace) -> Iterator[tuple[str, Figures]]:
    """Start-up and idleness of ours, one worker on PostgreSQL at a real account's limits."""
    with tempfile.TemporaryDirectory(prefix="imagejobs-idle-") as name:
        folder = Path(name)
        yield "one worker on PostgreSQL", starting(folder) | idling(folder)


def starting(folder: Path) -> Figures:
    """`imagejobs --help` against Python that imports what its command line stands on."""
    ours = _seconds([sys.executable, "-m", "producer", "--help"], folder)
    bare = _seconds([sys.executable, "-c", "import typer"], folder)
    return {"help_seconds": ours, "help_to_import_typer": ours / bare}


def _seconds(command: list[str], folder: Path) -> float:
    environ = environ_of(CONTESTANTS["imagejobs-sqlite-1"], S4, {"REDIS_URL": ""})
    return median(timed(command, environ=environ, folder=folder).seconds for _ in range(TIMES))


def idling(folder: Path) -> Figures:
    """A batch of one row is there before the worker starts; when it is closed, nothing is left to do."""
    scenario = replace(S4, run_seconds=0.2)
    ours = CONTESTANTS["imagejobs-postgres-1"]
    with (
        Servers(folder / "servers") as servers,
        TellingPostgres(folder / "postgres") as postgres,
        Provider(folder / "sandbox", scenario) as provider,
    ):
        database = postgres.create_database()
        given = {**servers.environ(provider), "IMAGEJOBS_HOME": str(folder), "DATABASE_URL": database}
        environ = environ_of(ours, scenario, given)
        rows = write_rows(folder / "one.jsonl", scenario, "one", 1)
        timed([sys.executable, "-m", "producer", "submit", str(rows), "--batch", "one"], environ=environ, folder=folder)
        with Family(folder=folder, environ=environ) as family, Ledger(database) as ledger:
            began = time.time()
            family.start(ours.commands(scenario, rows))
            claimed = _closed(ledger)
            time.sleep(CALM_SECONDS)
            return {"worker_start_to_claim_seconds": claimed - began} | _idle(family, servers, postgres)


def _closed(ledger: Ledger) -> float:
    """When the batch's first job was claimed; waits until it is closed."""
    until = time.monotonic() + CLOSED_WITHIN_SECONDS
    while time.monotonic() < until:
        batch = ledger.batches.get("one")
        if batch is not None and batch.is_done and batch.first_submitted_at is not None:
            return batch.first_submitted_at
        time.sleep(0.2)
    raise TimeoutError("the worker did not finish a batch of one row")


def _idle(family: Family, servers: Servers, postgres: TellingPostgres) -> Figures:
    began = time.monotonic()
    before = family.cpu_seconds(), servers.redis_info()["total_commands_processed"], postgres.statements()
    time.sleep(IDLE_SECONDS)
    after = family.cpu_seconds(), servers.redis_info()["total_commands_processed"], postgres.statements()
    cpu, commands, statements = (
        (late - early) / (time.monotonic() - began) for early, late in zip(before, after, strict=True)
    )
    return {
        "idle_cpu_percent_of_a_core": cpu * 100,
        "idle_redis_commands_per_second": commands,
        "idle_database_statements_per_second": statements,
    }


MEASUREMENT = Measurement(
    name="idle",
    help="what it costs to start, and to do nothing",
    title="Starting up, and doing nothing",
    measure=measure,
)
