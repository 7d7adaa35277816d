"""Orphans in a list page: predictions of ours that no attempt knows. Adopt, or cancel and count; never ignore."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from imagejobs.edges.dialects import Prediction
from imagejobs.job import Job
from imagejobs.states import State
from worker.lookup import fingerprint
from worker.services import Services

MEMORY_SECONDS = 3600.0  # the provider's list shows inputs for about an hour

log = structlog.get_logger("imagejobs.strays")


class Strays:
    """Looks for orphans among the predictions that a sweep lists. One cheap query where nothing was ever absent."""

    def __init__(self, services: Services, *, cancel: Callable[[str], None]) -> None:
        self._services = services
        self._cancel = cancel

    def take_in(self, listed: Sequence[Prediction]) -> None:
        """Adopt each orphan whose job still waits; cancel and count the others."""
        services = self._services
        since = services.clock.now() - MEMORY_SECONDS
        suspects = services.ledger.strays.suspects(services.account, since=since) if listed else []
        if not suspects:
            return
        known = services.ledger.views.known([one.id for one in listed])
        by_print = {fingerprint(job.version, job.input): job for job in suspects}
        for prediction in listed:
            job = by_print.get(fingerprint(prediction.version or "", prediction.input))
            if job is not None and prediction.id not in known:
                self._settle(job, prediction)

    def _settle(self, job: Job, prediction: Prediction) -> None:
        services = self._services
        now = services.clock.now()
        names = {"batch": job.batch, "job_id": job.row_id, "prediction_id": prediction.id}
        if job.state is State.SUBMITTING:
            return  # its own look-up comes first
        if job.state is State.QUEUED and services.ledger.strays.adopt(
            job, prediction_id=prediction.id, now=now, look_at=now
        ):
            log.warning("orphan_adopted", **names)
            return
        services.ledger.strays.count(job, prediction_id=prediction.id, now=now)
        log.error("orphan_counted", status=prediction.status, **names)
        if not prediction.is_final:
            self._cancel(prediction.id)
