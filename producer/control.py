"""Steering batches: pause, resume, cancel, retry. Whoever works sees it in the ledger; nothing here needs a worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from imagejobs.closing import reopened
from imagejobs.edges.store import Store
from imagejobs.errors import Cause, Complaint
from imagejobs.job import Batch, FailureGroup, Selection
from imagejobs.ledger import Ledger
from imagejobs.patience import PATIENT, Patience
from imagejobs.settings import Settings
from imagejobs.states import State
from producer.doors import feed, open_store_of, reachable_broker


def pause(ledger: Ledger, batch: Batch, *, reason: str) -> None:
    """Send nothing more of it; what is in flight is finished. Raises Complaint for a batch that is finished."""
    if not ledger.batches.pause(batch.id, kind="user", reason=reason, now=ledger.database.now()):
        raise Complaint(f"{batch.key} is finished: there is nothing to pause")


def resume(ledger: Ledger, settings: Settings, batch: Batch) -> bool:
    """Send again, whatever it was paused for. True when workers were told. Raises Complaint when it was not paused."""
    if not ledger.batches.resume(batch.id):
        raise Complaint(f"{batch.key} is not paused")
    with reachable_broker(settings, account=batch.account) as broker:
        return feed(ledger, broker, settings, account=batch.account)


@dataclass(frozen=True, slots=True, kw_only=True)
class Canceled:
    """How many were canceled before they cost anything, and how many in flight were asked to end."""

    queued: int
    in_flight: int


def cancel(ledger: Ledger, batch: Batch, *, with_flying: bool) -> Canceled:
    """Cancel what is queued; with `with_flying` also ask the provider to end what it has begun (paid for in part)."""
    queued = ledger.steering.cancel_queued(batch.id, now=ledger.database.now())
    return Canceled(queued=queued, in_flight=ledger.steering.ask_to_cancel(batch.id) if with_flying else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPlan:
    """What a retry would do, shown before it does it.

    It is frozen as of `made_at`: what fails later is not part of it, and what was shown as free is never paid for.
    """

    batch: Batch
    selection: Selection
    made_at: float
    groups: tuple[FailureGroup, ...]

    @property
    def count(self) -> int:
        """How many jobs."""
        return sum(group.count for group in self.groups)

    @property
    def free(self) -> int:
        """How many of them are still at the provider: copied again, for nothing."""
        return sum(group.copyable for group in self.groups)

    @property
    def paid(self) -> int:
        """How many are generated again, and paid again."""
        return self.count - self.free


def plan_retry(
    ledger: Ledger,
    batch: Batch,
    *,
    causes: Sequence[Cause] = (),
    ids: Sequence[str] = (),
    older_than_seconds: float = 0.0,
    with_canceled: bool = False,
) -> RetryPlan:
    """The failed jobs of these causes or ids, or all of them; with `with_canceled` the canceled ones too."""
    now = ledger.database.now()
    selection = Selection(
        causes=tuple(causes),
        ids=tuple(ids),
        finished_before=now - older_than_seconds,
        states=(State.FAILED, State.CANCELED) if with_canceled else (State.FAILED,),
    )
    groups = ledger.steering.groups(batch.id, selection, now=now)
    return RetryPlan(batch=batch, selection=selection, made_at=now, groups=tuple(groups))


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried:
    """How many are copied again (free) and generated again (paid). `is_sent`: workers were told."""

    copied: int = 0
    generated: int = 0
    is_sent: bool = False


def retry(ledger: Ledger, settings: Settings, plan: RetryPlan) -> Retried:
    """Do what was planned. Raises BadSetting.

    The batch's completion marker is taken away first; a store that refuses leaves everything as it was.
    """
    batch = plan.batch
    with open_store_of(batch.store) as store, reachable_broker(settings, account=batch.account) as broker:
        done = requeue(ledger, store, plan, max_tries=settings.max_tries)
        is_sent = feed(ledger, broker, settings, account=batch.account)
    return replace(done, is_sent=is_sent)


def requeue(ledger: Ledger, store: Store, plan: RetryPlan, *, max_tries: int, patience: Patience = PATIENT) -> Retried:
    """Take the marker away, then queue what was planned; whoever works finds it. Raises what the store raises."""
    batch, now = plan.batch, ledger.database.now()
    with reopened(ledger, store, batch, now=now, patience=patience):
        copied, generated = ledger.steering.retry(
            batch.id, plan.selection, max_tries=max_tries, now=now, shown_at=plan.made_at
        )
    return Retried(copied=copied, generated=generated)
