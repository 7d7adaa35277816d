"""Speed does not depend on history: what runs all night finds live jobs by partial indexes, in both databases."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, insert, text

from imagejobs import moves
from imagejobs.errors import Cause
from imagejobs.job import Selection
from imagejobs.ledger import Ledger
from imagejobs.ledger.tables import attempts, batches, jobs, specs
from imagejobs.ledger.views import PAGE
from tests import desk
from tests.desk import LATER, NOW, Desk

HISTORY = (
    20_000  # finished jobs beside a few live ones: enough for PostgreSQL to mind, few enough to be written quickly
)
EACH = 20  # live jobs in each state


@pytest.fixture
def at(database_url: str) -> Iterator[Desk]:
    """A ledger with a long history and a small live batch."""
    with Ledger(database_url) as ledger:
        at = Desk(ledger)
        _write_history(ledger, at.account)
        _write_live(at)
        if not ledger.database.is_sqlite:
            with ledger.database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(text("VACUUM ANALYZE"))  # as autovacuum does
        yield at


def _write_history(ledger: Ledger, account: str) -> None:
    done = [
        {
            "id": number,
            "batch_id": 1,
            "row_id": f"r{number}",
            "line": number,
            "state": "succeeded",
            "outputs": 1,
            "due_at": 0.0,
            "hinted": 0,
            "attempt": 1,
            "tries_left": 4,
            "finished_at": 1.0,
        }
        for number in range(1, HISTORY + 1)
    ]
    asked = [{"job_id": one["id"], "version": "o/m:v", "input": '{"prompt": "a lighthouse at dusk"}'} for one in done]
    made = [
        {
            "job_id": one["id"],
            "number": 1,
            "intent_at": 1.0,
            "prediction_id": f"old-{one['id']}",
            "outcome": "succeeded",
        }
        for one in done
    ]
    facts = {
        "key": "history",
        "account": account,
        "store": "x",
        "rows_digest": "d",
        "created_at": 0.0,
        "opened_at": 0.0,
    }
    with ledger.database.write() as connection:
        counts = {"total": HISTORY, "succeeded": HISTORY, "images": 0, "closed_at": 1.0}
        connection.execute(insert(batches).values(id=1, **facts, **counts))
        connection.execute(insert(jobs), done)
        connection.execute(insert(specs), asked)
        connection.execute(insert(attempts), made)
        if not ledger.database.is_sqlite:
            for table in ("batches", "jobs"):
                connection.execute(text(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), {HISTORY})"))


def _write_live(at: Desk) -> None:
    batch = at.batch(rows=8 * EACH)
    flying = at.begin(5 * EACH)
    at.apply(*(desk.accepted(job) for job in flying[EACH:]))
    running = [at.read(job) for job in flying[EACH:]]
    at.apply(*(desk.finished(job) for job in running[EACH : 2 * EACH]))
    at.apply(*(desk.failed(job) for job in running[2 * EACH : 3 * EACH]))
    at.ledger.batches.resume(batch.id)  # so many failures alike have paused it
    assert at.take(EACH)


@contextmanager
def statements(ledger: Ledger) -> Iterator[list[tuple[str, Any]]]:
    """What is sent to the database meanwhile, each with values to explain it by."""
    seen: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, is_many: bool) -> None:
        seen.append((statement, parameters[0] if is_many else parameters))

    event.listen(ledger.database.engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(ledger.database.engine, "before_cursor_execute", note)


def plans(ledger: Ledger, seen: list[tuple[str, Any]]) -> list[str]:
    """How the database means to go about those that look for rows."""
    searches = [
        one for one in seen if re.search(r"\b(jobs|specs|attempts)\b", one[0]) and not one[0].startswith("INSERT")
    ]
    with ledger.database.read() as connection:
        if ledger.database.is_sqlite:
            explained = [connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {one}", how).all() for one, how in searches]
            return ["\n".join(row[-1] for row in rows) for rows in explained]
        costed = [connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {one}", how).scalar_one() for one, how in searches]
        return [json.dumps(plan) for plan in costed]


def reads_all_jobs(plan: str) -> bool:
    """Whether every job or attempt that ever was is looked at."""
    on_sqlite = re.search(r"^SCAN (jobs|specs|attempts|every_attempt|absent_ones)(?! USING)", plan, re.MULTILINE)
    on_postgres = re.search(r'"Seq Scan"[^{}]*"Relation Name": "(jobs|specs|attempts)"', plan)
    return bool(on_sqlite or on_postgres)


def _claim(at: Desk) -> None:
    assert at.claim(at.take(5))


def _copy(at: Desk) -> None:
    ids = at.ledger.turns.take_copies(at.account, limit=5, now=LATER, resend_at=LATER)
    assert at.ledger.jobs.claim_copies(ids, account=at.account, lease_until=LATER)


def _settle(at: Desk) -> None:
    found = at.ledger.views.jobs([flight.job_id for flight in at.ledger.views.flights(at.account)])
    assert at.apply(*(moves.generate_again(job, cause=Cause.TRANSIENT, error="x", due_at=NOW) for job in found))


def _accept(at: Desk) -> None:
    assert at.apply(*(desk.accepted(job) for job in at.ledger.views.unknown(at.account, now=LATER)))


def _probe(at: Desk) -> None:
    (batch,) = at.ledger.batches.unfinished(at.account)
    at.ledger.batches.pause(batch.id, kind="breaker", reason="x", now=NOW)
    assert at.ledger.turns.take_probes(at.account, now=LATER, resend_at=LATER)


def _groups(at: Desk) -> None:
    (batch,) = at.ledger.batches.unfinished(at.account)
    assert at.ledger.steering.groups(batch.id, Selection(), now=NOW)


def _retry(at: Desk) -> None:
    (batch,) = at.ledger.batches.unfinished(at.account)
    assert (0, EACH) == at.ledger.steering.retry(batch.id, Selection(), max_tries=4, now=LATER)


def _cancel(at: Desk) -> None:
    (batch,) = at.ledger.batches.unfinished(at.account)
    assert at.ledger.steering.ask_to_cancel(batch.id)
    assert at.ledger.steering.cancel_queued(batch.id, now=NOW)


PRIMARY = "jobs_pkey|INTEGER PRIMARY KEY"
WORK: dict[str, tuple[Callable[[Desk], Any], tuple[str, ...]]] = {
    "take": (lambda at: at.take(5), ("jobs_waiting",)),
    "claim": (_claim, ("jobs_waiting", PRIMARY)),
    "outstanding": (lambda at: at.ledger.turns.outstanding(at.account), ("jobs_hinted",)),
    "forget_overdue": (lambda at: at.ledger.turns.forget_overdue(now=LATER), ("jobs_hinted",)),
    "forget_all": (lambda at: at.ledger.turns.forget_all(now=LATER), ("jobs_hinted", "jobs_in_flight")),
    "take_copies": (_copy, ("jobs_in_flight", PRIMARY)),
    "flights": (lambda at: at.ledger.views.flights(at.account), ("jobs_in_flight",)),
    "unknown": (lambda at: at.ledger.views.unknown(at.account, now=LATER), ("jobs_in_flight",)),
    "submitting": (lambda at: at.ledger.views.submitting(at.account), ("jobs_in_flight",)),
    "copies": (lambda at: at.ledger.views.copies(at.account), ("jobs_in_flight",)),
    "backlog_expiry": (lambda at: at.ledger.views.backlog_expiry(at.account, leave_out=0), ("jobs_in_flight",)),
    "apply": (_settle, (PRIMARY,)),
    "accept": (_accept, (PRIMARY, "attempts_prediction")),
    "known": (lambda at: at.ledger.views.known(["old-1", "p-1"]), ("attempts_prediction",)),
    "suspects": (lambda at: at.ledger.strays.suspects(at.account, since=0), ("attempts_absent",)),
    "groups": (_groups, ("jobs_failed",)),
    "retry": (_retry, ("jobs_failed",)),
    "take_probes": (_probe, ("jobs_waiting",)),
    "cancel": (_cancel, ("jobs_waiting", "jobs_hinted", "jobs_in_flight")),
}


def nodes(plan: Any) -> Iterator[dict[str, Any]]:
    """Every step of a plan of PostgreSQL."""
    if isinstance(plan, list):
        for one in plan:
            yield from nodes(one)
    elif isinstance(plan, dict):
        yield plan
        for one in (plan.get("Plan", []), plan.get("Plans", [])):
            yield from nodes(one)


def reads_by_bounds(plan: str, table: str) -> bool:
    """Whether of the table only rows between two ids, or of one id, are read."""
    if plan.startswith("["):
        return all("Index Cond" in node for node in nodes(json.loads(plan)) if node.get("Relation Name") == table)
    return all(line.startswith("SEARCH") for line in plan.splitlines() if f" {table} " in line)


def test_pages_of_a_batch_read_its_own_specs_only(at: Desk):
    """And not those of all batches before it, again for every page."""
    history = at.ledger.batches.get("history")
    assert history is not None
    with statements(at.ledger) as seen:
        assert HISTORY == len(list(at.ledger.views.job_rows(history.id)))
        assert [] == list(at.ledger.views.image_rows(history.id))
    pages = [one for one in seen if "specs" in one[0]]

    assert len(pages) > HISTORY / PAGE
    assert [] == [plan for plan in plans(at.ledger, pages) if not reads_by_bounds(plan, "specs")]


def test_what_runs_all_night_reads_live_jobs_only(at: Desk):
    """Every search has its index, whatever lies in the ledger from the nights before."""
    found: dict[str, list[str]] = {}
    for name, (work, _) in WORK.items():
        with statements(at.ledger) as seen:
            work(at)
        found[name] = plans(at.ledger, seen)

    assert {} == {name: plan for name, all_of_it in found.items() for plan in all_of_it if reads_all_jobs(plan)}
    missing = {
        (name, index): found[name]
        for name, (_, indexes) in WORK.items()
        for index in indexes
        if not re.search(index, "\n".join(found[name]))
    }
    assert {} == missing


def test_a_chunk_of_a_retry_or_a_cancel_reads_its_own_jobs_only(at: Desk):
    """What is read once is the selection; a chunk that read the batch again would make a million jobs take for ever."""
    if not at.ledger.database.is_sqlite:
        pytest.skip("PostgreSQL knows how many there are, and of so few jobs reads all")
    with statements(at.ledger) as seen:
        _retry(at)
        _cancel(at)
    chunks = [plan for plan in plans(at.ledger, seen) if "json_each" in plan]

    assert chunks
    assert [] == [plan for plan in chunks if re.search(r"INDEX \w+ \(batch_id=", plan)]


def test_a_search_without_its_index_would_be_noticed(at: Desk):
    """The test above can fail: by a condition that hides from the index, and by a whole table."""
    seen = [
        ("SELECT jobs.id FROM jobs WHERE jobs.state || '' = 'queued'", ()),
        ("SELECT jobs.id FROM jobs WHERE jobs.state = 'succeeded'", ()),
    ]
    assert [True, True] == [reads_all_jobs(plan) for plan in plans(at.ledger, seen)]
