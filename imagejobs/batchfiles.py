"""The files of a batch beside its images and its marker: manifest, metadata, and the rows that failed.

Each is made in a temporary folder (TMPDIR), which needs room for one or two kilobytes an image, put whole under its own
name, then forgotten. The same ledger gives the same files, whoever writes them.

All are written each time, empty ones too, and parts that an earlier closing had more of are taken away: nothing stale
stays. `failed.jsonl` holds failed jobs only, in rows that `submit` takes; why they failed, and what was canceled,
stands in `failures.jsonl`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from itertools import chain, count, takewhile
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

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


def write_files(ledger: Ledger, store: Store, batch: Batch, *, patience: Patience) -> int:
    """Write them all. Returns how many images the manifest has. Raises what the store raises, and OSError."""
    with TemporaryDirectory(prefix="imagejobs-") as folder:
        files = _Files(ledger, store, batch, Path(folder), patience)
        images = files.put_images()
        files.put_failures()
        return images


class _Files:
    """One batch's files on their way into the store."""

    def __init__(self, ledger: Ledger, store: Store, batch: Batch, folder: Path, patience: Patience) -> None:
        self._views = ledger.views
        self._store = store
        self._batch = batch
        self._folder = folder
        self._patience = patience

    def put_images(self) -> int:
        """The manifest's parts, the first one even without a row (readers then find an empty table), and metadata."""
        images = parts = 0
        with TemporaryFile(dir=self._folder) as spool:
            metadata = Metadata(spool)
            for part in parts_of(self._views.image_rows(self._batch.id), most_rows=PART_ROWS):
                images += self._put_part(parts, part, metadata)
                parts += 1
            self._drop_parts(parts)
            self._put_lines(METADATA, metadata.lines())
        return images

    def put_failures(self) -> None:
        """What was given up: as rows that can be submitted again, and why."""
        failed = self._views.job_rows(self._batch.id, State.FAILED)
        self._put_lines(FAILED, (to_line(resubmittable(row)) for row in failed))
        given_up = (self._views.job_rows(self._batch.id, state) for state in (State.FAILED, State.CANCELED))
        self._put_lines(FAILURES, (to_line(failure_record(row)) for row in chain.from_iterable(given_up)))

    def _put_part(self, number: int, rows: Iterable[Row], metadata: Metadata) -> int:
        paths = {extension: self._folder / f"part.{extension}" for extension in _FORMATS}
        with ExitStack() as stack:
            files = {extension: stack.enter_context(path.open("wb")) for extension, path in paths.items()}
            tables = [stack.enter_context(_FORMATS[extension](file)) for extension, file in files.items()]
            written = self._write_part(tables, rows, metadata)
        for extension, path in paths.items():
            key = part_key(self._batch.key, number, extension)
            self._patience(self._store.put_file, key, path, content_type=_CONTENT_TYPES[extension])
        return written

    def _write_part(self, tables: Sequence[Write], rows: Iterable[Row], metadata: Metadata) -> int:
        written = 0
        for block in blocks(rows):
            records = [image_record(self._batch.key, row) for row in block]
            for write in tables:
                write(records)
            metadata.add(block)
            written += len(block)
        return written

    def _drop_parts(self, first: int) -> None:
        """Parts of an earlier closing, the last one first: should this be cut off, the next closing finds the rest."""
        for number in reversed(list(takewhile(self._is_part, count(first)))):
            for key in self._part_keys(number):
                self._patience(self._store.delete, key)

    def _is_part(self, number: int) -> bool:
        return any(self._patience(self._store.stat, key) for key in self._part_keys(number))

    def _part_keys(self, number: int) -> list[str]:
        return [part_key(self._batch.key, number, extension) for extension in _FORMATS]

    def _put_lines(self, name: str, lines: Iterable[bytes]) -> None:
        path = self._folder / name
        with path.open("wb") as file:
            file.writelines(lines)
        key = file_key(self._batch.key, name)
        self._patience(self._store.put_file, key, path, content_type=_CONTENT_TYPES["jsonl"])
