"""From the ledger to the queues: keeps the submit queue short and full, and sends again what nobody heard of.

The producer tops the queue up when a batch comes in, workers while they run; both by this same code.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import structlog

from imagejobs.feed import places_ahead, specs_per_message
from imagejobs.ledger import LEDGER_ERRORS, Ledger
from imagejobs.queues import BROKER_ERRORS, LOST_MESSAGE_SECONDS, STORE, SUBMIT, Broker

COPIES_PER_MESSAGE = 32  # side by side, as many at a time as a worker has threads: a slow one holds no other back
COPIES_AT_ONCE = 400  # overdue copies sent for in one go

log = structlog.get_logger("imagejobs.dispatch")


class Dispatch:
    """Sends for queued jobs and overdue copies of one account."""

    def __init__(self, ledger: Ledger, broker: Broker, *, account: str) -> None:
        self._ledger = ledger
        self._broker = broker
        self._account = account

    def feed(self, *, creates_per_minute: float, now: float, share: float = 1.0, booked_seconds: float = 0.0) -> int:
        """Top the submit queue up to what `share` of the allowance will use soon. Returns how many were sent for.

        `booked_seconds` is how far ahead the allowance has been reserved.
        """
        turns = self._ledger.turns
        resend_at = now + LOST_MESSAGE_SECONDS
        ahead = places_ahead(creates_per_minute, booked_seconds=booked_seconds)
        places = ceil(ahead * share) - turns.outstanding(self._account)
        jobs = turns.take(self._account, places=places, now=now, resend_at=resend_at) if places > 0 else []
        jobs += turns.take_probes(self._account, now=now, resend_at=resend_at)
        self._send_or_give_back(jobs, size=specs_per_message(creates_per_minute))
        return len(jobs)

    def _send_or_give_back(self, jobs: list[int], *, size: int) -> None:
        try:
            self._broker.send(SUBMIT, groups(jobs, size))
        except BROKER_ERRORS:
            self._ledger.turns.give_back(jobs)
            raise

    def copies(self, job_ids: Sequence[int], *, now: float) -> int:
        """Send for copies. Those that Redis does not take are due again at once. Returns how many were sent for."""
        if not job_ids:
            return 0
        try:
            self._broker.send(STORE, groups(job_ids, COPIES_PER_MESSAGE))
        except BROKER_ERRORS as error:
            log.warning("copies_not_sent", error=type(error).__name__, copies=len(job_ids))
            self._ledger.turns.give_back_copies(job_ids, now=now)
            return 0
        return len(job_ids)

    def overdue_copies(self, *, now: float) -> int:
        """Send again for copies that are due and that nobody has in hand."""
        resend_at = now + LOST_MESSAGE_SECONDS
        overdue = self._ledger.turns.take_copies(self._account, limit=COPIES_AT_ONCE, now=now, resend_at=resend_at)
        return self.copies(overdue, now=now)

    def recover(self, *, now: float) -> int:
        """Take messages that are overdue for lost; all of them when Redis may have lost any. Returns how many.

        A message taken for lost that turns up all the same finds its job claimed, and ends there.
        """
        if not self._broker.has_lost_messages():
            return self._ledger.turns.forget_overdue(now=now)
        try:
            self._broker.drop_unread()  # first: what is sent from here on is not in question
            return self._ledger.turns.forget_all(now=now)
        except (*BROKER_ERRORS, *LEDGER_ERRORS):
            self._broker.doubt()  # else nobody would hear of it again
            raise


def groups(job_ids: Sequence[int], size: int) -> list[Sequence[int]]:
    """The ids in order, cut into groups of at most `size`."""
    return [job_ids[start : start + size] for start in range(0, len(job_ids), size)]
