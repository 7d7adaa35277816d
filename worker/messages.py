"""What each of the four messages makes a worker do, whatever brings it: Celery, or the simulation's scheduler.

A message brings ids and nothing else: the ledger says what is to be done, if anything.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import structlog

from imagejobs.job import Job
from imagejobs.ledger import LEDGER_ERRORS
from imagejobs.queues import BROKER_ERRORS, POLL, STORE, SUBMIT, TEND
from imagejobs.states import State
from worker.abreast import Abreast, Decided
from worker.services import Services
from worker.stages.store import Copier
from worker.submitter import Submitter
from worker.sweeper import Sweeper
from worker.tender import Tender

COPY_LEASE_SECONDS = 15.0  # and a read time-out: one that lasts is taken up by another process too, harmlessly
CUT_SHORT_SECONDS = 2.0
MOST_IDS = 100  # in one message; ours carry 32 at most, and a claim of more would go stale before all were sent

Act = Callable[..., None]

log = structlog.get_logger("imagejobs.tasks")


def acts(
    services: Services,
    *,
    threads: int,
    rested: Callable[[str, float], None],
    is_leaving: Callable[[], bool],
) -> Mapping[str, Act]:
    """What to do for each message, by its name.

    `rested` hears when a sweep has run, and when it is due again; `is_leaving` tells whether this process is to stop.
    """
    submitter = Submitter(services, threads=threads, is_leaving=is_leaving)
    sweeper, tender = Sweeper(services), Tender(services)
    by_name: dict[str, Act] = {
        SUBMIT: _with_ids(submitter.run),
        STORE: _with_ids(partial(_copy_all, services, _InHand())),
        POLL: _sweep(POLL, sweeper.run, rested),
        TEND: _sweep(TEND, tender.run, rested),
    }
    return {name: _put_off_by_outages(name, act, doubt=services.broker.doubt) for name, act in by_name.items()}


class _InHand:
    """The copies that this process is at: over a slow line one may outlast its lease, and a second would slow it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: set[tuple[int, int]] = set()

    def take(self, job: Job) -> bool:
        """False for one that is in hand."""
        with self._lock:
            is_new = (job.id, job.attempt) not in self._held
            self._held.add((job.id, job.attempt))
            return is_new

    def let_go(self, job: Job) -> None:
        """It has ended, however."""
        with self._lock:
            self._held.discard((job.id, job.attempt))


def _copy_all(services: Services, in_hand: _InHand, job_ids: list[int]) -> None:
    lease_seconds = COPY_LEASE_SECONDS + services.settings.read_seconds
    fresh_until, lease_until = services.clock.monotonic() + lease_seconds, services.clock.now() + lease_seconds

    def is_ours(job: Job) -> bool:
        return services.clock.monotonic() <= fresh_until or _stands(services, job)

    copier = replace(services.copier, is_ours=is_ours)
    copies = Abreast(services.copying, clock=services.clock, conclude=partial(_conclude_copies, services))
    for job in services.ledger.jobs.claim_copies(job_ids, account=services.account, lease_until=lease_until):
        if in_hand.take(job):
            copies.start(partial(_copy, copier, job, in_hand))
    copies.write()


def _stands(services: Services, job: Job) -> bool:
    """Whether the job still waits for this very copy. While the ledger cannot tell, nothing is written."""
    try:
        (now,) = services.ledger.views.jobs([job.id])
    except LEDGER_ERRORS:
        return False
    return (now.state, now.attempt) == (State.STORING, job.attempt)


def _copy(copier: Copier, job: Job, in_hand: _InHand) -> Decided:
    with structlog.contextvars.bound_contextvars(batch=job.batch, job_id=job.row_id, prediction_id=job.prediction_id):
        try:
            outcome = copier.copy(job)
        finally:
            in_hand.let_go(job)
        log.info("copy", outcome=type(outcome).__name__, images=len(getattr(outcome, "images", ())))
    return job, outcome


def _conclude_copies(services: Services, copied: Sequence[Decided]) -> None:
    services.write(copied)


def _sweep(name: str, run: Callable[[], float], rested: Callable[[str, float], None]) -> Act:
    """A sweep, and when the next one is due; soon after one that an outside system cut short."""

    def once(*_: Any) -> None:
        seconds = CUT_SHORT_SECONDS
        try:
            seconds = run()
        finally:
            rested(name, seconds)

    return once


def _put_off_by_outages(name: str, act: Act, *, doubt: Callable[[], None]) -> Act:
    """An outside system that is away ends it with one line: what it left undone falls due again.

    A message whose jobs the ledger did not give out is as good as lost: it is doubted, and sent anew when it is back.
    """

    def acting(*args: Any) -> None:
        try:
            act(*args)
        except (*BROKER_ERRORS, *LEDGER_ERRORS) as error:
            log.warning("task_put_off", task=name, error=type(error).__name__)
            if isinstance(error, LEDGER_ERRORS):
                with suppress(*BROKER_ERRORS):
                    doubt()

    return acting


def _with_ids(run: Callable[[list[int]], None]) -> Act:
    """A message names jobs by id. One that does not (forged, or of another version) is logged and dropped."""

    def checked(*args: Any) -> None:
        ids = args[0] if args else None
        if isinstance(ids, list) and 0 < len(ids) <= MOST_IDS and all(type(one) is int and one > 0 for one in ids):
            run(ids)
        else:
            log.warning("message_dropped", because="it names no jobs")

    return checked
