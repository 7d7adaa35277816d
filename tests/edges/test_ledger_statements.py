"""A connection keeps what it prepared, so it is few statements: whatever the number of jobs that they are about."""

from __future__ import annotations

from typing import Any

from sqlalchemy import event

from imagejobs.ledger import Ledger
from imagejobs.ledger.rows import KEPT_PARAMETERS
from tests import desk
from tests.desk import Desk

SIZES = range(1, 34)
LENGTHS = 7  # 1, 2, 4 … 64


def test_rounds_of_many_sizes_need_no_more_statements_than_lengths(ledger: Ledger):
    """From the feed's turn to the stored image, and the reading of jobs between them."""
    at = Desk(ledger)
    at.batch(sum(SIZES))
    seen: set[str] = set()

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.add(statement)

    event.listen(ledger.database.engine, "before_cursor_execute", note)
    for size in SIZES:
        jobs = at.begin(size)
        at.apply(*map(desk.accepted, jobs))
        at.apply(*(desk.finished(at.read(job)) for job in jobs))
        ledger.views.jobs([job.id for job in jobs])
        ledger.views.known([f"p{job.id}" for job in jobs])
    of_lists = [statement for statement in seen if " IN (" in statement and "SELECT jobs.id \nFROM" not in statement]

    assert len(of_lists) <= LENGTHS * len({statement.partition(" IN (")[0] for statement in of_lists})


def test_a_turn_of_more_than_one_list_hints_all_its_jobs(ledger: Ledger):
    """None is sent for twice."""
    at = Desk(ledger)
    batch = at.batch(2 * KEPT_PARAMETERS + 1)

    assert sorted(at.ids(batch)) == sorted(at.take())
    assert [] == at.take()
