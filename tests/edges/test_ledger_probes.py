"""Probes of a paused batch: which job is taken, how often, and at what cost to the database."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagejobs.breaker import FIRST_PROBE_SECONDS
from imagejobs.job import SpecText
from imagejobs.ledger import Ledger
from imagejobs.moves import proven_absent
from tests.edges.test_ledger_pages import plans
from tests.night import ACCOUNT, START, Night, a_spec

DUE = START + 10 + FIRST_PROBE_SECONDS


@pytest.fixture
def night(tmp_path: Path, database_url: str) -> Night:
    """Three jobs: the first two went out and came back, and then the account was refused."""
    ledger = Ledger(database_url)
    night = Night(tmp_path, [], ledger=ledger)
    night.ledger.batches.add(night.batch.id, [SpecText.of(a_spec(f"r{number}")) for number in range(6)], max_tries=4)
    first = ledger.turns.take(ACCOUNT, places=2, now=START, resend_at=START + 60)
    claimed = ledger.jobs.claim(first, account=ACCOUNT, now=START, resolve_at=START + 60)
    ledger.jobs.apply([proven_absent(job, error="lost", due_at=START + 1) for job in claimed], now=START)
    ledger.batches.pause(night.batch.id, kind="auth_billing", reason="402", now=START + 10)
    return night


def probes(night: Night, now: float) -> list[str]:
    """The rows that are sent for."""
    taken = night.ledger.turns.take_probes(ACCOUNT, now=now, resend_at=now + 60)
    rows = {row["id"]: row["row_id"] for row in night.ledger.views.job_rows(night.batch.id)}
    return [rows[job] for job in taken]


def test_a_probe_is_taken_from_the_far_end_of_what_was_never_sent(night: Night):
    """Rows that are themselves at fault mostly stand together: their neighbour would tell nothing new."""
    assert ["r5"] == probes(night, DUE)
    night.ledger.close()


def test_probes_come_one_at_a_time_and_ever_more_rarely(night: Night):
    """Twice the time after each; nothing in between."""
    moments = [DUE + step for step in range(100)]
    taken = [moment - DUE for moment in moments for _ in probes(night, moment)]

    assert [0, 10, 30, 70] == taken
    night.ledger.close()


def test_nothing_is_probed_of_a_batch_whose_rows_are_still_written(tmp_path: Path):
    """Its submit may die, and be forgotten with all it wrote."""
    night = Night(tmp_path, [a_spec("r1")])
    ledger = night.ledger
    facts = {"account": ACCOUNT, "store": "elsewhere", "rows_digest": "1" * 64}
    batch = ledger.batches.create("half", facts=facts, now=START)
    assert batch is not None
    ledger.batches.add(batch.id, [SpecText.of(a_spec("r9"))], max_tries=4)
    ledger.batches.pause(batch.id, kind="breaker", reason="alike", now=START)

    half_written = ledger.turns.take_probes(ACCOUNT, now=DUE, resend_at=DUE + 60)
    ledger.batches.open(batch.id, now=DUE)
    opened = ledger.turns.take_probes(ACCOUNT, now=DUE, resend_at=DUE + 60)

    assert (0, 1) == (len(half_written), len(opened))
    ledger.close()


def test_a_probe_sorts_nothing(tmp_path: Path):
    """Half a million rows may wait."""
    night = Night(tmp_path, [a_spec(f"r{number}") for number in range(3)])
    night.ledger.batches.add(night.batch.id, [SpecText.of(a_spec("r9"))], max_tries=4)
    night.ledger.batches.pause(night.batch.id, kind="breaker", reason="alike", now=START)
    turns = night.ledger.turns

    plan = plans(night.ledger, lambda: turns.take_probes(ACCOUNT, now=DUE, resend_at=DUE + 60))
    assert "jobs_waiting" in plan
    assert "TEMP B-TREE" not in plan
