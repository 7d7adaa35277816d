"""What tests of closing share: a store that is watched, and what happens to a night in a word each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from imagejobs import closing
from imagejobs.batchfiles import Make, make_files
from imagejobs.edges.store import Store
from imagejobs.errors import Cause, Refused, Transient
from imagejobs.job import Batch, Selection
from imagejobs.patience import Patience
from tests.night import Night

MARKER = "night/_SUCCESS"
HASTY = Patience(sleep=lambda _: None)
BLIP = Transient("bucket b: SlowDown: no reason given", cause=Cause.STORAGE)
DENIED = Refused("bucket b: AccessDenied: no reason given", cause=Cause.STORAGE)


class Watched:
    """A real store that notes what is done to it. `before` and `after` hold what happens, once, around a call."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.done: list[tuple[str, str]] = []
        self.before: dict[tuple[str, str], Callable[[], Any]] = {}
        self.after: dict[tuple[str, str], Callable[[], Any]] = {}

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        def call(key: str, *args: Any, **kwargs: Any) -> Any:
            self.before.pop((name, key), lambda: None)()
            result = method(key, *args, **kwargs)
            self.done.append((name, key))
            self.after.pop((name, key), lambda: None)()
            return result

        return call


def failing(error: Exception) -> Callable[[], None]:
    """What a store does that answers with this error."""

    def fail() -> None:
        raise error

    return fail


def close(night: Night, store: Any = None, *, now: float | None = None, make: Make = make_files) -> bool:
    """Close the batch a minute after its last job ended, or at `now`."""
    moment = night.now + 60 if now is None else now
    store = night.store if store is None else store
    return closing.close(night.ledger, store, night.batch, now=moment, lease_seconds=900, patience=HASTY, make=make)


def retry(night: Night, *row_ids: str, store: Any = None) -> None:
    """What `imagejobs retry` does."""
    store = night.store if store is None else store
    with closing.reopened(night.ledger, store, night.batch, now=night.now, patience=HASTY):
        requeue(night, *row_ids)


def requeue(night: Night, *row_ids: str) -> None:
    """The ledger's half of a retry."""
    night.ledger.steering.retry(night.batch.id, Selection(ids=row_ids), max_tries=4, now=night.now)


def lines(path: Path) -> list[Any]:
    """A file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def ids(path: Path) -> list[str]:
    """The `id` of every line."""
    return [line["id"] for line in lines(path)]


def has_marker(night: Night) -> bool:
    """Whether the store says that the batch is done."""
    return (night.folder / "_SUCCESS").exists()


def is_consistent(batch: Batch, marked: bool) -> bool:
    """The marker stands exactly for a batch that the ledger calls closed, and no job of it is live."""
    return marked == batch.is_done and not (batch.is_done and batch.live)
