"""Orphans: predictions of ours that no attempt knows. Adopt, or cancel and count; never ignore.

They come to light in two ways: the provider's list shows one, or a create is answered after its job had gone on without
it (its worker slept over the POST).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import structlog

from imagejobs.edges.dialects import Prediction
from imagejobs.job import Job
from imagejobs.states import State
from worker.calls import Calls
from worker.lookup import fingerprint
from worker.services import Services

MEMORY_SECONDS = 3600.0  # the provider's list shows inputs for about an hour
DEEP_SECONDS = 600.0  # a list that lags for longer than this is no list
BETWEEN_SECONDS = 15.0  # from one search for orphans to the next

log = structlog.get_logger("imagejobs.strays")


class Strays:
    """Looks for orphans among the predictions that a sweep lists. One cheap query where nothing was ever absent."""

    def __init__(self, services: Services, *, calls: Calls) -> None:
        self._services = services
        self._calls = calls
        self._search_at = 0.0  # monotonic
        self.may_turn_up = True
        """Whether any can, by the last search: a create was declared absent within the hour."""

    def reach(self) -> float | None:
        """Back to when the list should be read for orphans now; None when there can be none, or it is too early again.

        One whose create was sent late stands on the list's first page, which is enough for most of an hour. One that
        the list showed late stands where it belongs, some way down: so the first minutes are read to their end.
        """
        services = self._services
        if services.clock.monotonic() < self._search_at:
            return None
        self._search_at = services.clock.monotonic() + BETWEEN_SECONDS
        now = services.clock.now()
        self.may_turn_up = True
        lately = services.ledger.strays.first_lost(services.account, since=now - DEEP_SECONDS)
        if lately is not None:
            return lately
        ever = services.ledger.strays.first_lost(services.account, since=now - MEMORY_SECONDS)
        self.may_turn_up = ever is not None
        return now if self.may_turn_up else None

    def take_in(self, listed: Sequence[Prediction]) -> None:
        """Adopt each orphan whose job still waits; cancel and count the others."""
        services = self._services
        since = services.clock.now() - MEMORY_SECONDS
        suspects = services.ledger.strays.suspects(services.account, since=since) if listed else []
        if not suspects:
            return
        by_print = _by_print(suspects)
        # Read before `known`: a create that is answered in between is then among those.
        unsettled = _by_print(services.ledger.views.submitting(services.account))
        known = services.ledger.views.known([one.id for one in listed])
        for prediction in listed:
            jobs = _match(by_print, prediction)
            if jobs and prediction.id not in known and not _match(unsettled, prediction):
                self._settle(jobs, prediction)
        self._end([one.id for one in listed if not one.is_final])

    def _end(self, running: Sequence[str]) -> None:
        """Orphans that were counted and run on: their cancel did not get through."""
        for prediction_id in sorted(self._services.ledger.strays.counted(running)):
            self._calls.cancel(prediction_id)

    def take_late(self, job: Job, prediction: Prediction) -> None:
        """The create of `job` was accepted, and the ledger has gone on without it."""
        ledger = self._services.ledger
        if prediction.id not in ledger.views.known([prediction.id]):
            self._settle(ledger.views.jobs([job.id]), prediction)

    def _settle(self, jobs: Sequence[Job], prediction: Prediction) -> None:
        """`jobs` are alike; one that still waits gets the prediction."""
        strays, now = self._services.ledger.strays, self._services.clock.now()
        for job in jobs:
            waits = job.state is State.QUEUED
            if waits and strays.adopt(job, prediction_id=prediction.id, now=now, look_at=now):
                log.warning("orphan_adopted", batch=job.batch, job_id=job.row_id, prediction_id=prediction.id)
                return
        for job in jobs[:1]:
            if strays.count(job, prediction_id=prediction.id, now=now):
                log.error("orphan_counted", batch=job.batch, job_id=job.row_id, prediction_id=prediction.id)
                if not prediction.is_final:
                    self._calls.cancel(prediction.id)


def _by_print(jobs: Sequence[Job]) -> Mapping[str, list[Job]]:
    found: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        found[fingerprint(job.version, job.input)].append(job)
        found[fingerprint(None, job.input)].append(job)  # list items have been seen without their version
    return found


def _match(jobs: Mapping[str, list[Job]], prediction: Prediction) -> Sequence[Job]:
    return jobs.get(fingerprint(prediction.version, prediction.input), ()) if prediction.input else ()
