"""Closing a batch: what the ledger knows of it, written into the store as files, and the completion marker last.

The marker says: every job is final, and the files beside it tell all of it. Nothing here costs money and everything may
be done again, so the rule is simple: whatever happens in between, do it again from the ledger. The ledger counts
how often a batch was opened (its generation), and two closers of one generation write the same bytes.

What may happen in between, and what becomes of it:

- A retry that dies between taking the marker away and queueing: the ledger has the batch as not closed, so it is closed
  again. Only if a closing began and ended between the retry's first word to the ledger and that death, and the retry
  took that one's marker away, does the batch stay closed without one, until somebody retries any of it.
- A retry before the files are complete: the generation is another when the closer looks again; it starts anew, finds
  live jobs, takes the marker away and leaves. Whoever sees those jobs final closes the batch.
- A retry between that look and the marker: the ledger refuses to close the batch, and the closer does the same.
- A retry after the batch was closed: `reopened` takes the marker away, before and again after the jobs are queued;
  a marker that was put between the two is thus taken away as well.
- A closer that slept through all of it (its lease ran out, the batch was opened and closed by others) may overwrite a
  newer file, or take a newer marker away. It then finds a generation that is not its own, or is refused, and does the
  closing of the newer generation once more before it leaves. The same for a retry that takes away a marker late.
- A closer that dies leaves files without a marker, and its lease runs out. If it dies between marker and ledger,
  the marker tells the truth until a retry takes it away; only if that retry began and ended between the closer's
  last look and its marker does the marker outlive it, until the batch is closed again.
- The store refuses: the closing is put off, for longer and longer. Where waiting is no help, or has been none for
  minutes, the batch also pauses, to show the reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog

from imagejobs.batchfiles import Make, make_files
from imagejobs.edges.store import Store
from imagejobs.errors import Cause, Permanent, Refused, Transient
from imagejobs.filing import write_files
from imagejobs.job import Batch
from imagejobs.layout import MARKER, file_key
from imagejobs.ledger import LEDGER_ERRORS, Ledger
from imagejobs.manifest import SCHEMA_VERSION, iso, to_line
from imagejobs.patience import PATIENT, Patience
from imagejobs.states import State

_REOPENING_SECONDS = 60.0  # so long is a retry left alone that takes the marker away and has not come to queueing
_PUT_OFF_SECONDS = (5.0, 600.0)  # the first and the longest wait for a store that refuses
_TOLD_SECONDS = 300.0  # what takes longer to pass, somebody should hear of

log = structlog.get_logger("imagejobs.closing")


def close(
    ledger: Ledger,
    store: Store,
    batch: Batch,
    *,
    now: float,
    lease_seconds: float,
    patience: Patience = PATIENT,
    make: Make = make_files,
) -> bool:
    """Write the files of a batch whose every job is final, and close it. True when it is closed.

    False when somebody else is at it, a retry came in between, or the store refused: then it is due again later.
    `lease_seconds` keeps others from doing the same work meanwhile; too short a lease wastes work, and harms nothing.
    """
    if not ledger.batches.start_closing(batch.id, now=now, lease_until=now + lease_seconds):
        return False
    try:
        return _close(ledger, store, batch.key, now=now, patience=patience, make=make)
    except (Refused, Permanent) as error:
        ledger.batches.pause(batch.id, kind="storage", reason=str(error), now=now)
        _put_off(ledger, batch, error, now=now)
    except (Transient, OSError) as error:
        if now > (batch.finished_at or now) + _TOLD_SECONDS:
            ledger.batches.pause(batch.id, kind="storage", reason=f"its files cannot be written: {error}", now=now)
        _put_off(ledger, batch, error, now=now)
    except LEDGER_ERRORS as error:  # not for as long as the lease says: it may be back already
        _put_off(ledger, batch, Transient(f"the ledger: {type(error).__name__}", cause=Cause.STORAGE), now=now)
    return False


@contextmanager
def reopened(ledger: Ledger, store: Store, batch: Batch, *, now: float, patience: Patience = PATIENT) -> Iterator[None]:
    """Around whatever queues final jobs again: no marker stays in the store while jobs of the batch are live.

    Raises what the store raises: before anything is queued when it refuses at once.
    """
    _take_marker_away(ledger, store, batch, now=now, patience=patience)
    try:
        yield
    finally:
        if _fresh(ledger, batch.key).live:
            _close(ledger, store, batch.key, now=now, patience=patience, make=make_files)


def _take_marker_away(ledger: Ledger, store: Store, batch: Batch, *, now: float, patience: Patience) -> None:
    """The ledger knows first: should this process die in between, the batch is closed again, marker and all."""
    was_closed = ledger.batches.reopen(batch.id, closing_until=now + _REOPENING_SECONDS)
    marker = file_key(batch.key, MARKER)
    try:
        store.delete(marker)
    except (Refused, Permanent):
        if was_closed:
            ledger.batches.leave_closed(was_closed)  # with its marker
        raise
    except Transient:
        patience(store.delete, marker)


def _close(ledger: Ledger, store: Store, key: str, *, now: float, patience: Patience, make: Make) -> bool:
    """Until the store holds what the ledger says: files and marker, or no marker where jobs are live."""
    while True:
        batch = _fresh(ledger, key)
        patience(store.delete, file_key(key, MARKER))
        if batch.live:
            if _fresh(ledger, key).live:
                return False
            continue
        images = write_files(ledger, store, batch, patience=patience, make=make)
        again = _fresh(ledger, key)
        if again.live or again.generation != batch.generation:
            continue
        _put_marker(store, batch, images=images, patience=patience)
        if ledger.batches.finish_closing(batch, now=now):
            return True
        if _fresh(ledger, key).generation == batch.generation:
            return True  # closed by another, with the same files


def _fresh(ledger: Ledger, key: str) -> Batch:
    batch = ledger.batches.get(key)
    if batch is None:
        raise LookupError(f"the ledger has no batch {key}")  # opened batches are never deleted
    return batch


def _put_off(ledger: Ledger, batch: Batch, error: Exception, *, now: float) -> None:
    """Try again after half the time that the batch has been waiting to be closed: longer and longer, with no count."""
    waited = now - (batch.finished_at or now)
    after_seconds = min(max(waited / 2, _PUT_OFF_SECONDS[0]), _PUT_OFF_SECONDS[1])
    ledger.batches.put_off_closing(batch.id, until=now + after_seconds)
    log.warning("closing_put_off", batch=batch.key, after_seconds=after_seconds, error=str(error))


def _put_marker(store: Store, batch: Batch, *, images: int, patience: Patience) -> None:
    data = to_line(_counts(batch, images=images))
    digest = hashlib.sha256(data).hexdigest()
    patience(store.put, file_key(batch.key, MARKER), data, content_type="application/json", sha256=digest)


def _counts(batch: Batch, *, images: int) -> dict[str, Any]:
    """What the marker says. `images` counts the manifest's rows."""
    return {
        "batch": batch.key,
        "total": batch.total,
        **{state.value: batch.counts[state] for state in State},
        "images": images,
        "creates_sent": batch.creates_sent,
        "possible_double_payments": batch.possible_double_payments,
        "first_submitted_at": iso(batch.first_submitted_at),
        "finished_at": iso(batch.finished_at),
        "schema_version": SCHEMA_VERSION,
    }
