"""What a webhook means: one more look at a prediction, and the answer to a create whose own was lost.

It is a hint like any other message: the ledger says what is to be done, if anything. Whatever it does not tell, or
tells too late, sweep and look-up find out.
"""

from __future__ import annotations

import structlog

from imagejobs.edges.dialects import Prediction
from imagejobs.edges.webhooks import AttemptTag
from imagejobs.job import Job
from imagejobs.states import State
from worker.calls import Calls
from worker.looks import Looks
from worker.lookup import fingerprint
from worker.outcomes import Accepted, Wait
from worker.services import Services
from worker.strays import Strays

log = structlog.get_logger("imagejobs.webhooks")


class Listener:
    """Takes what the provider tells of our predictions. Raises one of LEDGER_ERRORS when the ledger is away."""

    def __init__(self, services: Services) -> None:
        calls = Calls(services)
        self._services = services
        self._looks = Looks(services, calls=calls)
        self._strays = Strays(services, calls=calls)

    def hear(self, tag: AttemptTag, prediction: Prediction) -> None:
        """The provider tells of a prediction whose webhook names this attempt."""
        job = self._job(tag)
        if job is None or not _is_its_own(job, prediction):
            log.warning("webhook_dropped", attempt=str(tag), prediction_id=prediction.id)
            return
        if job.state is State.SUBMITTING and job.attempt == tag.number:
            self._accept(job, prediction)
            job = self._job(tag) or job
        if job.prediction_id != prediction.id:
            self._strays.take_late(job, prediction)
        elif job.state is State.RUNNING and not isinstance(outcome := self._looks.judge(job, prediction), Wait):
            self._looks.conclude([(job, outcome)])

    def _job(self, tag: AttemptTag) -> Job | None:
        found = self._services.ledger.views.jobs([tag.job_id])
        mine = [job for job in found if tag.is_of(job)]
        return mine[0] if mine else None

    def _accept(self, job: Job, prediction: Prediction) -> None:
        at = prediction.created_at or self._services.clock.now()
        self._services.write([(job, Accepted(prediction_id=prediction.id, at=at))])
        log.info("webhook_accepts", batch=job.batch, job_id=job.row_id, prediction_id=prediction.id)


def _is_its_own(job: Job, prediction: Prediction) -> bool:
    """The signature covers the body, not the address: what was sent to another address must not count here."""
    prints = {fingerprint(job.version, job.input), fingerprint(None, job.input)}
    return bool(prediction.input) and fingerprint(prediction.version, prediction.input) in prints
