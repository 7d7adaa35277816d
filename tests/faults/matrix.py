"""The fault matrix: how many jobs a row has, what every row must hold, and the table that they make.

Each test causes one fault with real processes and real servers, then calls `proven` with the batch at its end.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import func, select

from imagejobs.job import Batch
from imagejobs.ledger.tables import attempts
from imagejobs.states import State
from tests.ledger_books import assert_books_balance
from tests.system.fleet import Fleet, count_intact

FULL_JOBS = 500  # what `make faults` asks for
REPORT = "FAULT_REPORT"  # the file that each row is added to, one JSON object a line: rows run in several processes


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One proven row of the matrix."""

    fault: str
    jobs: int
    injected: int
    accepted: int
    paid_retries: int
    orphans: int
    failed: int
    stored: int
    duplicates: int
    lost: int
    recovery_seconds: float | None
    test: str


def jobs(default: int = 60) -> int:
    """How many jobs a row has: FAULT_JOBS, else few enough for every change to be held against the matrix."""
    return int(os.environ.get("FAULT_JOBS") or default)


def lasting(full_seconds: float, *, brief_seconds: float) -> float:
    """How long a fault lasts that only takes time: in full with `make faults`, briefly with few jobs."""
    return full_seconds if jobs() >= FULL_JOBS else brief_seconds


def finished(fleet: Fleet) -> Batch:
    """The batch, closed: 500 jobs may take some minutes."""
    return fleet.closed(timeout_seconds=120 + jobs())


def struck(fleet: Fleet, *kinds: str) -> int:
    """How often the sandbox's present rules struck; those of these kinds, or all."""
    rules = fleet.sandbox.stats()["faults"]
    return sum(rule["struck"] for rule in rules if not kinds or rule["kind"] in kinds)


def generated_again(fleet: Fleet, batch: Batch) -> int:
    """How many predictions more than one a job the ledger knows of: its own count of what was paid for again."""
    with fleet.ledger.database.read() as connection:
        paid = select(func.count()).where(attempts.c.prediction_id.is_not(None))
        return int(connection.execute(paid).scalar_one()) - batch.total


def proven(
    fleet: Fleet,
    batch: Batch,
    *,
    fault: str,
    injected: int,
    paid_retries: int = 0,
    orphans: int = 0,
    failed: int = 0,
    kept: int = 0,
    outputs: int = 1,
    recovery_seconds: float | None = None,
) -> None:
    """Assert what must hold whatever happened, and add the row.

    The provider accepted one create a job, and one for each counted paid retry and each counted orphan; the store holds
    every image, byte for byte; the ledger's books balance. `failed` jobs end as they must, with `kept` of their images.
    `injected` is how often the fault was seen to strike, and is not 0.
    """
    stats = fleet.sandbox.stats()
    row = Row(
        fault=fault,
        jobs=batch.total,
        injected=injected,
        accepted=stats["creates_accepted"],
        paid_retries=paid_retries,
        orphans=batch.orphans,
        failed=batch.counts[State.FAILED],
        stored=count_intact(fleet, batch),
        duplicates=stats["creates_accepted"] - batch.total - paid_retries - orphans,
        lost=batch.total - batch.counts[State.SUCCEEDED] - failed,
        recovery_seconds=None if recovery_seconds is None else round(recovery_seconds, 1),
        test=os.environ.get("PYTEST_CURRENT_TEST", "").removesuffix(" (call)"),
    )
    keep(row)

    assert injected > 0
    assert (0, 0, failed, orphans) == (row.duplicates, row.lost, row.failed, row.orphans)
    assert (batch.total - failed) * outputs + kept == row.stored == batch.images
    assert_books_balance(fleet.ledger)


def keep(row: Row) -> None:
    """Add a row to the report, in one write."""
    with Path(os.environ[REPORT]).open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(asdict(row)) + "\n")


def shown(report: Path) -> list[str]:
    """The report as Markdown, one line a row, with the test that reproduces it."""
    table = [Row(**json.loads(line)) for line in report.read_text(encoding="utf-8").splitlines()]
    names = Row.__dataclass_fields__
    lines = [f"| {' | '.join(names).replace('_', ' ')} |", f"|{' --- |' * len(names)}"]
    ordered = sorted(table, key=lambda row: row.test)
    return lines + [f"| {' | '.join(_cell(getattr(row, name)) for name in names)} |" for row in ordered]


def _cell(value: object) -> str:
    return "" if value is None else str(value)
