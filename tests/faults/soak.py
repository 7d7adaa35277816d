"""Everything at once, for as long as SOAK_MINUTES says: `make soak`. What must hold at its end is what always holds."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagejobs.job import Batch
from imagejobs.ledger import LEDGER_ERRORS
from imagejobs.states import State
from tests.faults import matrix
from tests.faults.mischief import ALWAYS, Mischief
from tests.ledger_books import assert_books_balance
from tests.servers.postgres import PostgresServer
from tests.servers.s3 import MinistackServer
from tests.servers.sandbox import SandboxServer
from tests.servers.valkey import ValkeyServer
from tests.servers.waiting import eventually
from tests.system.fleet import Fleet, count_intact, rows

CREATES_PER_MINUTE = 300
ROWS_A_MINUTE = 150  # half of what is allowed: mischief takes the rest
BETWEEN_SECONDS = 6.0  # from one act of mischief to the next
SETTLING_SECONDS = 300.0  # after the last one, all must end


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[SandboxServer]:
    """A provider with an account's limits."""
    limits = {"creates_per_minute": CREATES_PER_MINUTE, "calls_per_minute": 3000, "run_seconds": 3}
    with SandboxServer(tmp_path / "sandbox", **limits) as server:
        server.faults(ALWAYS)
        yield server


def test_everything_at_once(tmp_path: Path, sandbox: SandboxServer) -> None:
    """Batch after batch, while workers, servers, provider and people do what they can: one image for each payment."""
    minutes = float(os.environ.get("SOAK_MINUTES") or 20)
    with (
        ValkeyServer(tmp_path / "valkey") as valkey,
        PostgresServer(tmp_path / "postgres") as postgres,
        MinistackServer(tmp_path / "s3") as s3,
        Fleet(
            tmp_path,
            sandbox=sandbox,
            redis_url=valkey.url,
            DATABASE_URL=postgres.create_database(),
            IMAGEJOBS_STORE=f"s3://{s3.make_bucket()}/soak",
            IMAGEJOBS_CREATES_PER_MINUTE=str(CREATES_PER_MINUTE),
            IMAGEJOBS_CALLS_PER_MINUTE="3000",
            IMAGEJOBS_MAX_TRIES="10",
            **s3.settings,
        ) as fleet,
    ):
        fleet.start(3)
        mischief = Mischief(fleet, servers=(valkey, postgres, s3), allowance=CREATES_PER_MINUTE, seed=20)
        _work(fleet, mischief, until=time.monotonic() + 60 * minutes)
        mischief.undo()
        calm = time.monotonic()
        eventually(
            lambda: all(batch.is_done for batch in fleet.ledger.batches.all()),
            timeout_seconds=SETTLING_SECONDS,
            every_seconds=1,
            what="every batch closed",
            ignoring=LEDGER_ERRORS,
        )
        _proven(fleet, mischief.done, minutes=minutes, recovery_seconds=time.monotonic() - calm)


def _work(fleet: Fleet, mischief: Mischief, *, until: float) -> None:
    """A batch a minute, an act every few seconds; and the counts sum whenever they are looked at."""
    number, next_batch_at = 0, 0.0
    while time.monotonic() < until:
        if time.monotonic() >= next_batch_at:
            number, next_batch_at = number + 1, time.monotonic() + 60
            fleet.submit(_rows(number), batch=f"n{number}")
        mischief.strike()
        _assert_counts_sum(fleet)
        time.sleep(BETWEEN_SECONDS)  # the pace of the mischief, not a wait for anything


def _rows(number: int) -> list[dict[str, object]]:
    return [{**row, "prompt": f"{row['prompt']} of night {number}"} for row in rows(ROWS_A_MINUTE)]


def _assert_counts_sum(fleet: Fleet) -> None:
    try:
        for batch in fleet.ledger.batches.all():
            assert sum(batch.counts.values()) == batch.total
    except LEDGER_ERRORS:
        return  # cut off on purpose: the next look will tell


def _proven(fleet: Fleet, done: Counter[str], *, minutes: float, recovery_seconds: float) -> None:
    stats, batches = fleet.sandbox.stats(), fleet.ledger.batches.all()
    total = sum(batch.total for batch in batches)
    paid_retries = stats["predictions"].get("failed", 0)
    orphans = sum(batch.orphans for batch in batches)
    print("acts:", dict(done), "provider:", stats)  # noqa: T201 - part of the proof
    matrix.keep(
        matrix.Row(
            fault=f"everything at once for {minutes:g} minutes",
            jobs=total,
            injected=sum(done.values()),
            accepted=stats["creates_accepted"],
            paid_retries=paid_retries,
            orphans=orphans,
            failed=_sum(batches, State.FAILED),
            stored=sum(count_intact(fleet, batch) for batch in batches),
            duplicates=stats["creates_accepted"] - total - paid_retries - orphans,
            lost=total - _sum(batches, State.SUCCEEDED),
            recovery_seconds=round(recovery_seconds, 1),
            test="make soak",
        )
    )

    assert_books_balance(fleet.ledger)
    assert (total, total) == (_sum(batches, State.SUCCEEDED), sum(batch.images for batch in batches))
    assert total + paid_retries + orphans == stats["creates_accepted"]


def _sum(batches: list[Batch], state: State) -> int:
    return sum(batch.counts[state] for batch in batches)
