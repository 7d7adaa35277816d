"""What holds an account's batches up just now, by name, with the figure that shows it: decided apart from looking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlsplit

from imagejobs import limiter
from imagejobs.feed import STUCK_OUTPUTS, copy_lag, ease
from imagejobs.job import Batch
from imagejobs.limiter import Standing
from imagejobs.settings import Settings, key_prefix
from imagejobs.states import State
from producer.doors import redis_address
from producer.wording import counted, printable, spoken

if TYPE_CHECKING:
    from imagejobs.ledger import Ledger

ANSWER_SECONDS = 1.0  # for Redis: whoever asks how things stand must not wait for what is down
UNUSED_SECONDS = 1.0  # places that went by for less than this were only between two messages
UNASKED_SECONDS = 15.0  # workers with something to send reserve places all the time
WAITING_THREADS = 0.5  # of a worker, in the ledger: with less, something else is slower

What = Literal["allowance", "provider", "copying", "store", "database", "redis", "nothing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What limits, and the figure that shows it."""

    what: What
    figure: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that is looked at. `share` is how much of the allowance the workers use while copies wait for `lag_seconds`.

    `standing` is None where Redis does not answer, or where none is running (`has_redis`).
    """

    batches: Sequence[Batch]
    now: float
    copies: int = 0
    failing_copies: int = 0
    copy_error: str | None = None
    is_store_error: bool = False
    lag_seconds: float = 0.0
    share: float = 1.0
    standing: Standing | None = None
    has_redis: bool = True


def limit(facts: Facts) -> Limit:
    """The first that holds, those that a person must mend before those that pass."""
    live = [batch for batch in facts.batches if batch.live]
    if not live:
        return Limit(what="nothing", figure="no job is waiting or on its way")
    return (
        _pause(live)
        or _copies(facts)
        or _idle(live, now=facts.now)
        or _redis(facts)
        or _allowance(facts.standing or Standing(allowed=0.0))
    )


def _pause(live: Sequence[Batch]) -> Limit | None:
    """A pause that is not a person's own; where others go on, it holds only its batch up."""
    paused = [batch for batch in live if batch.paused_kind not in (None, "user")]
    if not paused or len(paused) < len(live):
        return None
    what: What = "store" if paused[0].paused_kind == "storage" else "provider"
    return Limit(what=what, figure=f"it refuses: {printable(paused[0].paused or '')}")


def _copies(facts: Facts) -> Limit | None:
    slowed = f"; submitting is slowed to {facts.share:.0%}" if facts.share < 1 else ""
    if facts.failing_copies and 2 * facts.failing_copies >= facts.copies:
        told = f"{counted(facts.failing_copies, 'copy', 'copies')} failed and will be tried again{slowed}"
        what: What = "store" if facts.is_store_error else "copying"
        return Limit(what=what, figure=f"{told}: {printable(facts.copy_error or '')}")
    if slowed:
        return Limit(what="copying", figure=f"the oldest finished output waits for {spoken(facts.lag_seconds)}{slowed}")
    return None


def _idle(live: Sequence[Batch], *, now: float) -> Limit | None:
    """Nothing is there to be sent just now."""
    queued = [batch for batch in live if batch.counts[State.QUEUED]]
    if not queued:
        return Limit(what="nothing", figure="all that is left is on its way")
    if all(batch.paused for batch in queued):
        return Limit(what="nothing", figure="paused by hand")
    starts = min(batch.not_before for batch in queued if not batch.paused)
    return Limit(what="nothing", figure=f"it starts in {spoken(starts - now)}") if starts > now else None


def _redis(facts: Facts) -> Limit | None:
    if facts.standing is not None:
        return None
    if facts.has_redis:
        return Limit(what="redis", figure="it does not answer, and nothing is sent without it")
    return Limit(what="nothing", figure="no worker is running: imagejobs worker")


def _allowance(standing: Standing) -> Limit:
    """There is something to send: either every place is used, or somebody does not come to it."""
    if standing.learnt is not None and (standing.learnt < standing.allowed or not standing.allowed):
        set_to = f"{_rate(standing.allowed)} are set" if standing.allowed else "no limit is set"
        return Limit(what="provider", figure=f"its 429s allow about {_rate(standing.learnt)} a minute; {set_to}")
    if standing.closed_seconds:
        return Limit(what="provider", figure=f"it asks to wait for {spoken(max(1.0, standing.closed_seconds))}")
    if standing.unused_seconds is not None and standing.unused_seconds < UNUSED_SECONDS:
        return Limit(what="allowance", figure=f"{_rate(standing.allowed)} creates a minute")
    if standing.ledger_waits >= WAITING_THREADS:
        return Limit(what="database", figure=f"{standing.ledger_waits:.1f} threads of the workers wait for it")
    unasked = standing.unasked_seconds
    if unasked is None or unasked > UNASKED_SECONDS:
        since = "yet" if unasked is None else f"for {spoken(unasked)}"
        return Limit(what="nothing", figure=f"no worker has asked for a place {since}: is one running?")
    return Limit(what="nothing", figure="the workers send as fast as they can")


def _rate(per_minute: float) -> str:
    return f"{per_minute:.0f}" if per_minute >= 10 else f"{per_minute:.2g}"


def look(settings: Settings, ledger: Ledger, batches: Sequence[Batch], *, account: str, now: float) -> Facts:
    """The facts, in two questions to the ledger and one to Redis."""
    are_storing = any(batch.counts[State.STORING] for batch in batches)
    copies, failing, error = ledger.views.copies(account) if are_storing else (0, 0, None)
    expiry = ledger.views.backlog_expiry(account, leave_out=STUCK_OUTPUTS) if copies else None
    address = redis_address(settings) if any(batch.live for batch in batches) else None
    standing = address and limiter.look(
        address,
        key_prefix(account) + "creates",
        per_minute=settings.creates_per_minute,
        within_seconds=ANSWER_SECONDS,
    )
    return Facts(
        batches=batches,
        now=now,
        copies=copies,
        failing_copies=failing,
        copy_error=error,
        is_store_error=bool(error and batches and error.startswith(_store_named(batches[0].store))),
        lag_seconds=copy_lag(expiry, settings.keep_seconds, now),
        share=ease(expiry, settings.keep_seconds, now),
        standing=standing or None,
        has_redis=address is not None,
    )


def _store_named(store: str) -> str:
    """How the store's own errors begin."""
    parts = urlsplit(store)
    return f"bucket {parts.netloc}:" if parts.scheme == "s3" else f"{unquote(parts.path)}:"


def said(limited: Limit) -> str:
    """In a line."""
    return f"limited by: {_SPOKEN.get(limited.what, limited.what)} ({limited.figure})"


_SPOKEN = {"provider": "the provider", "store": "the store", "database": "the database", "redis": "Redis"}


def shown(limited: Limit, standing: Standing | None) -> dict[str, Any]:
    """For `--json`: names may be added, never changed."""
    learnt = None if standing is None else standing.learnt
    return {
        "limited_by": limited.what,
        "limited_by_figure": limited.figure,
        "creates_per_minute": None if standing is None else standing.allowed,
        "learnt_creates_per_minute": learnt and round(learnt, 1),
    }
