"""A desk: one account of its own in a shared ledger, and short words for what workers and people do there."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import select

from imagejobs import moves
from imagejobs.errors import Cause
from imagejobs.job import Batch, Image, Job, Selection, Spec, SpecText
from imagejobs.ledger import Ledger
from imagejobs.ledger.rows import job_of, job_query
from imagejobs.ledger.tables import jobs
from imagejobs.moves import Look, Move
from imagejobs.states import State
from tests.making import an_image

_NUMBERS = itertools.count(1)

NOW = 1000.0
LATER = 2000.0  # after every message, lease and look that a desk has set
EXPIRY = 5000.0


class Desk:
    """Everything happens at NOW unless told otherwise; a message is overdue, and an unknown create due, at LATER."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.account = f"account-{next(_NUMBERS)}"

    def batch(
        self, rows: int = 1, *, is_open: bool = True, max_tries: int = 4, outputs: int = 1, **facts: Any
    ) -> Batch:
        """A batch of that many queued jobs."""
        key = f"batch-{next(_NUMBERS)}"
        base = {"account": self.account, "store": "file:///elsewhere", "rows_digest": "0" * 64}
        created = self.ledger.batches.create(key, facts={**base, **facts}, now=NOW)
        assert created is not None
        specs = [
            Spec(id=f"r{line}", line=line, version="owner/model:v1", input={"seed": line}, outputs=outputs)
            for line in range(1, rows + 1)
        ]
        self.ledger.batches.add(created.id, [SpecText.of(spec) for spec in specs], max_tries=max_tries)
        if is_open:
            self.ledger.batches.open(created.id, now=NOW)
        return self.again(created)

    def again(self, batch: Batch) -> Batch:
        """The batch as it is by now."""
        found = self.ledger.batches.get(batch.key)
        assert found is not None
        return found

    def batch_of(self, job: Job) -> Batch:
        """The job's batch as it is by now."""
        found = self.ledger.batches.get(job.batch)
        assert found is not None
        return found

    def take(self, places: int = 1000, *, now: float = NOW) -> list[int]:
        """The jobs whose turn it is."""
        return self.ledger.turns.take(self.account, places=places, now=now, resend_at=max(now, NOW) + 60)

    def claim(self, job_ids: Sequence[int], *, now: float = NOW) -> list[Job]:
        """What a message that names these jobs may send."""
        return self.ledger.jobs.claim(job_ids, account=self.account, now=now, resolve_at=LATER)

    def begin(self, places: int = 1000) -> list[Job]:
        """Take and claim: jobs whose intent is committed."""
        return [replace(job, state=State.SUBMITTING) for job in self.claim(self.take(places))]

    def apply(self, *wishes: Move | Look, now: float = NOW) -> list[Move]:
        """The moves that were granted."""
        return self.ledger.jobs.apply(wishes, now=now)

    def read(self, job: Job | int) -> Job:
        """The job as it is by now."""
        job_id = job if isinstance(job, int) else job.id
        with self.ledger.database.read() as connection:
            return job_of(connection.execute(job_query().where(jobs.c.id == job_id)).one())

    def row(self, job: Job | int) -> dict[str, Any]:
        """The job's row, every column."""
        job_id = job if isinstance(job, int) else job.id
        with self.ledger.database.read() as connection:
            return dict(connection.execute(select(jobs).where(jobs.c.id == job_id)).one()._mapping)

    def ids(self, batch: Batch) -> list[int]:
        """The batch's jobs, in the order of the input."""
        return [row["id"] for row in self.ledger.views.job_rows(batch.id)]

    def attempts(self, job: Job) -> list[dict[str, Any]]:
        """Every attempt of the job, the first one first."""
        return self.ledger.views.history(job.batch_id, job.row_id)

    def job_in(self, state: State, **facts: Any) -> Job:
        """The one job of a new batch, brought to that state by a worker's own moves."""
        batch = self.batch(**facts)
        if state is State.QUEUED:
            return self.read(self.take(1)[0])
        (job,) = self.begin(1)
        for move in _WAY[state]:
            (granted,) = self.apply(move(job))
            job = replace(self.read(job), state=granted.target)
        assert batch.id == job.batch_id
        return self.read(job)


def accepted(job: Job) -> Move:
    """The provider took it, under an id that belongs to this attempt alone."""
    return moves.accepted(job, prediction_id=f"p-{job.id}-{job.attempt}", at=NOW, look_at=NOW)


def finished(job: Job, *, expires_at: float = EXPIRY) -> Move:
    """Its outputs wait to be copied, and a message has gone out for them."""
    output = [f"https://outputs/{index}.png" for index in range(job.outputs)]
    times = {"completed_at": NOW, "expires_at": expires_at, "resend_at": NOW + 60}
    return moves.finished(job, output=output, predict_time_s=1.5, **times)


def stored(job: Job) -> Move:
    """Every image asked for is in the store."""
    return moves.stored(job, images=images_of(job))


def failed(job: Job, *, cause: Cause = Cause.INPUT, error: str = "no") -> Move:
    """Given up."""
    return moves.gave_up(job, cause=cause, error=error, at=NOW)


def canceled(job: Job) -> Move:
    """Ended on request."""
    return moves.canceled(job, at=NOW)


def images_of(job: Job) -> list[Image]:
    """As many images as the job asked for."""
    return [an_image(index=index) for index in range(job.outputs)]


def only(job: Job, *states: State) -> Selection:
    """A selection of just this job."""
    return Selection(ids=(job.row_id,), states=states or (job.state,))


_WAY = {
    State.SUBMITTING: (),
    State.RUNNING: (accepted,),
    State.STORING: (accepted, finished),
    State.SUCCEEDED: (accepted, finished, stored),
    State.FAILED: (accepted, failed),
    State.CANCELED: (accepted, canceled),
}
