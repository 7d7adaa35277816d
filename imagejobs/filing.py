"""A batch's files, from the ledger into the store.

All are made in a temporary folder (TMPDIR), which needs room for two or three kilobytes an image, and then put, each
whole, under their own names. Parts that an earlier closing had more of are taken away: nothing stale stays.
"""

from __future__ import annotations

from itertools import chain, count, takewhile
from pathlib import Path
from tempfile import TemporaryDirectory

from imagejobs.batchfiles import FORMATS, Make, Rows, make_files
from imagejobs.edges.store import Store
from imagejobs.job import Batch
from imagejobs.layout import FAILED, FAILURES, METADATA, file_key, part_key
from imagejobs.ledger import Ledger
from imagejobs.ledger.views import SMALL_PAGE
from imagejobs.patience import Patience
from imagejobs.states import State

_CONTENT_TYPES = {"jsonl": "application/x-ndjson", "parquet": "application/vnd.apache.parquet"}


def write_files(ledger: Ledger, store: Store, batch: Batch, *, patience: Patience, make: Make = make_files) -> int:
    """Make all of a batch's files and put them into the store. Returns how many images the manifest has.

    Raises what the store raises, LEDGER_ERRORS, and what `make` does.
    """
    with TemporaryDirectory(prefix="imagejobs-") as folder:
        made = make(rows_of(ledger, batch), Path(folder))
        putting = _Putting(store, batch.key, Path(folder), patience)
        for number in range(made.parts):
            for extension in FORMATS:
                putting.put(part_key(batch.key, number, extension))
        putting.drop_parts(made.parts)
        for name in (METADATA, FAILED, FAILURES):
            putting.put(file_key(batch.key, name))
        return made.images


def rows_of(ledger: Ledger, batch: Batch) -> Rows:
    """What the ledger has for them, read as it is used, by whoever lives on. Reading raises LEDGER_ERRORS."""
    given_up = (ledger.views.job_rows(batch.id, state, page=SMALL_PAGE) for state in (State.FAILED, State.CANCELED))
    images = ledger.views.image_rows(batch.id, page=SMALL_PAGE)
    return Rows(batch=batch.key, images=images, given_up=chain.from_iterable(given_up))


class _Putting:
    """One batch's files, on the way from a folder to the store."""

    def __init__(self, store: Store, batch: str, folder: Path, patience: Patience) -> None:
        self._store = store
        self._batch = batch
        self._folder = folder
        self._patience = patience

    def put(self, key: str) -> None:
        """Whole, under its own name."""
        content_type = _CONTENT_TYPES[key.rpartition(".")[2]]
        self._patience(self._store.put_file, key, self._folder / key, content_type=content_type)

    def drop_parts(self, first: int) -> None:
        """Parts of an earlier closing, the last one first: should this be cut off, the next closing finds the rest."""
        for number in reversed(list(takewhile(self._is_part, count(first)))):
            for key in self._part_keys(number):
                self._patience(self._store.delete, key)

    def _is_part(self, number: int) -> bool:
        return any(self._patience(self._store.stat, key) for key in self._part_keys(number))

    def _part_keys(self, number: int) -> list[str]:
        return [part_key(self._batch, number, extension) for extension in FORMATS]
