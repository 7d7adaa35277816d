"""One look at a prediction, wherever its record comes from: what it means is decided, written and followed up here."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import structlog

from imagejobs.edges.dialects import Prediction
from imagejobs.job import Job
from imagejobs.states import State
from worker.calls import Calls
from worker.outcomes import Outcome, Wait
from worker.services import Services
from worker.stages.guard import guarded
from worker.stages.poll import RECHECK_SECONDS, judge

log = structlog.get_logger("imagejobs.poll")


class Looks:
    """Reads predictions' records for their jobs."""

    def __init__(self, services: Services, *, calls: Calls) -> None:
        self._services = services
        self._calls = calls

    def judge(self, job: Job, prediction: Prediction) -> Outcome:
        """What the record means. One that is overdue, or not wanted any more, is cancelled at the provider."""
        odd = partial(Wait, after_seconds=RECHECK_SECONDS)
        return guarded(lambda: self._verdict(job, prediction), otherwise=lambda error: odd(error=error))

    def _verdict(self, job: Job, prediction: Prediction) -> Outcome:
        services = self._services
        verdict = judge(job, prediction, now=services.clock.now(), limit_seconds=services.settings.job_seconds)
        if verdict.cancel:
            self._calls.cancel(prediction.id)
        return verdict.outcome

    def conclude(self, decided: Sequence[tuple[Job, Outcome]]) -> None:
        """Write it all in one transaction, and send for the copies in the same breath."""
        granted = self._services.write(decided)
        finished = [move.job_id for move in granted if move.target is State.STORING]
        log.info("sweep", looked_at=len(decided), moved=len(granted), finished=len(finished))
        self._services.dispatch.copies(finished, now=self._services.clock.now())
