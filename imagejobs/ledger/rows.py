"""From rows to records: the one place that knows how a job, an attempt and a batch are read back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Row, Select, and_, select

from imagejobs.job import Batch, Flight, Job
from imagejobs.ledger.tables import END_IT, attempts, batches, in_flight, jobs, specs
from imagejobs.states import State

MOST_PARAMETERS = 5000  # values bound in one statement: SQLite stops at 32766, PostgreSQL at 65535
KEPT_PARAMETERS = 256  # the same, of a statement that connections keep prepared: SQLite needs some 130 bytes for each

One = TypeVar("One")
_FIELDS = tuple(Job.__dataclass_fields__)


def parts(values: Sequence[One], size: int = MOST_PARAMETERS) -> Iterator[Sequence[One]]:
    """The values in order, in parts that one statement can take."""
    return (values[start : start + size] for start in range(0, len(values), size))


def alike(values: Sequence[One]) -> Iterator[list[One]]:
    """The values in parts of few lengths, for statements that are run all day long."""
    return (padded(part) for part in parts(values, KEPT_PARAMETERS))


def padded(values: Sequence[One]) -> list[One]:
    """The values for an `IN`, the last one again and again up to a power of two.

    Each length is a statement of its own, and each connection to SQLite keeps the last few that it prepared.
    """
    found = list(values)
    missing = (1 << (len(found) - 1).bit_length()) - len(found)
    return found + found[-1:] * missing


def job_query() -> Select[Any]:
    """Jobs with their batch's key, what was asked, and what their current attempt knows."""
    current = and_(attempts.c.job_id == jobs.c.id, attempts.c.number == jobs.c.attempt)
    return (
        select(
            jobs.c.id,
            jobs.c.batch_id,
            batches.c.key.label("batch"),
            jobs.c.row_id,
            jobs.c.state,
            specs.c.version,
            specs.c.input,
            jobs.c.outputs,
            jobs.c.attempt,
            jobs.c.tries_left,
            jobs.c.due_at,
            jobs.c.cancel_requested,
            attempts.c.intent_at,
            attempts.c.accepted_at,
            attempts.c.prediction_id,
            attempts.c.output,
            attempts.c.completed_at,
            attempts.c.expires_at,
            attempts.c.copy_tries,
        )
        .join(batches, batches.c.id == jobs.c.batch_id)
        .join(specs, specs.c.job_id == jobs.c.id)
        .outerjoin(attempts, current)
    )


def job_of(row: Row[Any]) -> Job:
    """One row of `job_query`, whose columns are the job's fields, in their order.

    By names of our own: SQLAlchemy's are a kind of text with which dictionaries and calls take three times as long.
    """
    facts = dict(zip(_FIELDS, row, strict=True))
    facts["state"] = State(facts["state"])
    facts["input"] = json.loads(facts["input"])
    facts["cancel_requested"] = facts["cancel_requested"] == END_IT
    facts["output"] = tuple(json.loads(facts["output"])) if facts["output"] else ()
    facts["copy_tries"] = facts["copy_tries"] or 0
    return Job(**facts)


def flight_query() -> Select[Any]:
    """Jobs with a prediction, in the few columns that a sweep reads of all of them."""
    return (
        select(
            jobs.c.id,
            specs.c.version,
            attempts.c.prediction_id,
            attempts.c.intent_at,
            attempts.c.accepted_at,
            jobs.c.due_at,
            jobs.c.cancel_requested,
        )
        .join(batches, batches.c.id == jobs.c.batch_id)
        .join(specs, specs.c.job_id == jobs.c.id)
        .join(attempts, and_(attempts.c.job_id == jobs.c.id, attempts.c.number == jobs.c.attempt))
    )


def flight_of(row: Row[Any]) -> Flight:
    """One row of `flight_query`."""
    job_id, version, prediction_id, intent_at, accepted_at, due_at, cancel_requested = row
    return Flight(
        job_id=job_id,
        version=version,
        prediction_id=prediction_id,
        intent_at=intent_at,
        accepted_at=accepted_at,
        due_at=due_at,
        cancel_requested=cancel_requested == END_IT,
    )


def batch_of(row: Row[Any], *, nearest_expiry: float | None = None) -> Batch:
    """One row of the batches table."""
    names = Batch.__dataclass_fields__.keys() - {"counts", "finished_at", "nearest_expiry"}
    facts = {name: getattr(row, name) for name in names}
    counts = {state: getattr(row, state.value) for state in State}
    live = sum(counts[state] for state in (State.QUEUED, State.SUBMITTING, State.RUNNING, State.STORING))
    finished_at = row.last_moved_at if live == 0 else None
    return Batch(**facts, counts=counts, finished_at=finished_at, nearest_expiry=nearest_expiry)


def expiries(whose: ColumnElement[bool]) -> Select[Any]:
    """When the outputs that wait to be copied die, the first one first."""
    current = and_(attempts.c.job_id == jobs.c.id, attempts.c.number == jobs.c.attempt)
    waiting = select(attempts.c.expires_at).join(jobs, current).join(batches, batches.c.id == jobs.c.batch_id)
    return waiting.where(in_flight(State.STORING), whose).order_by(attempts.c.expires_at)
