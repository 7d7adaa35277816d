"""The files of a batch beside its images and its marker: manifest, metadata, and the rows that failed.

All are made in a temporary folder (TMPDIR), which needs room for two or three kilobytes an image, and then put, each
whole, under their own names. The same ledger gives the same files, whoever writes them.

All are written each time, empty ones too, and parts that an earlier closing had more of are taken away: nothing stale
stays. `failed.jsonl` holds failed jobs only, in rows that `submit` takes; why they failed, and what was canceled,
stands in `failures.jsonl`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, count, takewhile
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import TypeAlias

from imagejobs.edges.store import Store
from imagejobs.imagefolder import Metadata
from imagejobs.job import Batch
from imagejobs.layout import FAILED, FAILURES, METADATA, file_key, part_key
from imagejobs.ledger import Ledger
from imagejobs.manifest import (
    Row,
    Write,
    Writer,
    blocks,
    failure_record,
    image_record,
    jsonl_writer,
    parquet_writer,
    parts_of,
    resubmittable,
    to_line,
)
from imagejobs.patience import Patience
from imagejobs.states import State

PART_ROWS = 100_000
_FORMATS: dict[str, Writer] = {"jsonl": jsonl_writer, "parquet": parquet_writer}
_CONTENT_TYPES = {"jsonl": "application/x-ndjson", "parquet": "application/vnd.apache.parquet"}


@dataclass(frozen=True, slots=True)
class Made:
    """What the manifest has: rows, and the parts that they stand in."""

    images: int
    parts: int


Make: TypeAlias = Callable[[Ledger, Batch, Path], Made]
"""Makes a batch's files below a folder, as `make_files` does. Raises what it raises."""


def make_files(ledger: Ledger, batch: Batch, folder: Path) -> Made:
    """Write them all below `folder`, each where its key says. Raises LEDGER_ERRORS, and OSError for want of room."""
    files = _Files(ledger, batch, folder)
    made = files.make_images()
    files.make_failures()
    return made


def write_files(ledger: Ledger, store: Store, batch: Batch, *, patience: Patience, make: Make = make_files) -> int:
    """Make all of a batch's files and put them into the store. Returns how many images the manifest has.

    Raises what the store raises, and what `make` does.
    """
    with TemporaryDirectory(prefix="imagejobs-") as folder:
        made = make(ledger, batch, Path(folder))
        putting = _Putting(store, batch.key, Path(folder), patience)
        for number in range(made.parts):
            for extension in _FORMATS:
                putting.put(part_key(batch.key, number, extension))
        putting.drop_parts(made.parts)
        for name in (METADATA, FAILED, FAILURES):
            putting.put(file_key(batch.key, name))
        return made.images


class _Files:
    """One batch's files, on the way from the ledger to a folder."""

    def __init__(self, ledger: Ledger, batch: Batch, folder: Path) -> None:
        self._views = ledger.views
        self._batch = batch
        self._folder = folder

    def make_images(self) -> Made:
        """The manifest's parts, the first one even without a row (readers then find an empty table), and metadata."""
        images = parts = 0
        with TemporaryFile(dir=self._folder) as spool:
            metadata = Metadata(spool)
            for part in parts_of(self._views.image_rows(self._batch.id), most_rows=PART_ROWS):
                images += self._write_part(parts, part, metadata)
                parts += 1
            self._write_lines(METADATA, metadata.lines())
        return Made(images, parts)

    def make_failures(self) -> None:
        """What was given up: as rows that can be submitted again, and why."""
        failed = self._views.job_rows(self._batch.id, State.FAILED)
        self._write_lines(FAILED, (to_line(resubmittable(row)) for row in failed))
        given_up = (self._views.job_rows(self._batch.id, state) for state in (State.FAILED, State.CANCELED))
        self._write_lines(FAILURES, (to_line(failure_record(row)) for row in chain.from_iterable(given_up)))

    def _write_part(self, number: int, rows: Iterable[Row], metadata: Metadata) -> int:
        with ExitStack() as stack:
            paths = {kind: self._path(part_key(self._batch.key, number, kind)) for kind in _FORMATS}
            files = {kind: stack.enter_context(path.open("wb")) for kind, path in paths.items()}
            tables = [stack.enter_context(_FORMATS[kind](file)) for kind, file in files.items()]
            return self._write_rows(tables, rows, metadata)

    def _write_rows(self, tables: Sequence[Write], rows: Iterable[Row], metadata: Metadata) -> int:
        written = 0
        for block in blocks(rows):
            records = [image_record(self._batch.key, row) for row in block]
            for write in tables:
                write(records)
            metadata.add(block)
            written += len(block)
        return written

    def _write_lines(self, name: str, lines: Iterable[bytes]) -> None:
        with self._path(file_key(self._batch.key, name)).open("wb") as file:
            file.writelines(lines)

    def _path(self, key: str) -> Path:
        path = self._folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


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
        return [part_key(self._batch, number, extension) for extension in _FORMATS]
