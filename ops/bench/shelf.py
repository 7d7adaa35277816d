"""A ledger of any size with a past: jobs moved to their ends by the ledger's own moves, as workers would."""

from __future__ import annotations

from collections.abc import Sequence

from imagejobs import moves
from imagejobs.errors import Cause
from imagejobs.job import Image, Job
from imagejobs.ledger import Ledger

AT_ONCE = 2000  # jobs a transaction: quick, and far from any limit of a database
FAILED_EVERY = 10  # one job in so many is let fail
HOUR = 3600.0
SHA256 = "0" * 64


class Shelf:
    """`finish` everything that is queued; `feed`, `claim` and `accept` are also what is timed."""

    def __init__(self, ledger: Ledger, *, account: str) -> None:
        self._ledger = ledger
        self._account = account

    def feed(self, places: int) -> list[int]:
        """A feed's turn: choose jobs and mark them as sent for."""
        now = self._ledger.database.now()
        return self._ledger.turns.take(self._account, places=places, now=now, resend_at=now + HOUR)

    def claim(self, job_ids: Sequence[int]) -> list[Job]:
        """Commit the intent to create."""
        now = self._ledger.database.now()
        return self._ledger.jobs.claim(job_ids, account=self._account, now=now, resolve_at=now + HOUR)

    def accept(self, jobs: Sequence[Job]) -> None:
        """submitting → running."""
        now = self._ledger.database.now()
        taken = [moves.accepted(job, prediction_id=f"made-up-{job.id}", at=now, look_at=now + HOUR) for job in jobs]
        self._ledger.jobs.apply(taken, now=now)

    def finish(self) -> int:
        """Move every queued job to its end, in the store or failed. Returns how many."""
        finished = 0
        self._ledger.turns.forget_all(now=self._ledger.database.now())  # no worker hears what submit has sent for
        while ids := self.feed(AT_ONCE):
            jobs = self.claim(ids)
            self.accept(jobs)
            self._end(ids)
            finished += len(jobs)
        return finished

    def _end(self, ids: Sequence[int]) -> None:
        ledger, now = self._ledger, self._ledger.database.now()
        facts = {"completed_at": now, "expires_at": now + HOUR, "resend_at": now + HOUR, "predict_time_s": 3.0}
        running = ledger.views.jobs(ids)
        ends = [
            moves.gave_up(job, cause=Cause.UNKNOWN, error=f"CUDA error {job.id % 7}", at=now)
            if job.id % FAILED_EVERY == 0
            else moves.finished(job, output=["http://127.0.0.1:9/out-0.png"], **facts)
            for job in running
        ]
        ledger.jobs.apply(ends, now=now)
        copies = ledger.jobs.claim_copies(ids, account=self._account, lease_until=now + HOUR)
        ledger.jobs.apply([moves.stored(job, images=[_image(job, now)]) for job in copies], now=now)


def _image(job: Job, now: float) -> Image:
    uri = f"s3://bench/{job.batch}/images/{job.row_id}-0.png"
    return Image(
        index=0,
        uri=uri,
        sha256=SHA256,
        bytes=300_000,
        width=512,
        height=512,
        content_type="image/png",
        stored_at=now,
    )
