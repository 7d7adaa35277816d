"""The files of a batch beside its images and its marker: manifest, metadata, and the rows that failed.

Made below a folder, from rows alone: whoever has those needs neither ledger nor store. The same rows give the same
files, whoever writes them.

All are written each time, empty ones too. `failed.jsonl` holds failed jobs only, in rows that `submit` takes; why they
failed, and what was canceled, stands in `failures.jsonl`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, TypeAlias

from imagejobs.imagefolder import Metadata
from imagejobs.layout import FAILED, FAILURES, METADATA, file_key, part_key
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
from imagejobs.states import State

PART_ROWS = 100_000
FORMATS: dict[str, Writer] = {"jsonl": jsonl_writer, "parquet": parquet_writer}


@dataclass(frozen=True, slots=True)
class Made:
    """What the manifest has: rows, and the parts that they stand in."""

    images: int
    parts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What a batch's files are made of, to be read once and in this order.

    `images` as `Ledger.views.image_rows` gives them; `given_up` as `job_rows` does, failed jobs before canceled.
    """

    batch: str
    images: Iterator[Row]
    given_up: Iterator[Row]


Make: TypeAlias = Callable[[Rows, Path], Made]
"""Makes a batch's files below a folder, as `make_files` does. Raises what it raises."""


def make_files(rows: Rows, folder: Path) -> Made:
    """Write them all below `folder`, each where its key says. Raises OSError for want of room, and what `rows` do."""
    files = _Files(rows.batch, folder)
    made = files.make_images(rows.images)
    files.make_failures(rows.given_up)
    return made


class _Files:
    """One batch's files, on the way from its rows to a folder."""

    def __init__(self, batch: str, folder: Path) -> None:
        self._batch = batch
        self._folder = folder

    def make_images(self, rows: Iterator[Row]) -> Made:
        """The manifest's parts, the first one even without a row (readers then find an empty table), and metadata."""
        images = parts = 0
        with TemporaryFile(dir=self._folder) as spool:
            metadata = Metadata(spool)
            for part in parts_of(rows, most_rows=PART_ROWS):
                images += self._write_part(parts, part, metadata)
                parts += 1
            self._write_lines(METADATA, metadata.lines())
        return Made(images, parts)

    def make_failures(self, rows: Iterable[Row]) -> None:
        """What was given up: as rows that can be submitted again, and why."""
        with self._open(FAILED) as again, self._open(FAILURES) as why:
            for row in rows:
                if row["state"] == State.FAILED:
                    again.write(to_line(resubmittable(row)))
                why.write(to_line(failure_record(row)))

    def _write_part(self, number: int, rows: Iterable[Row], metadata: Metadata) -> int:
        with ExitStack() as stack:
            paths = {kind: self._path(part_key(self._batch, number, kind)) for kind in FORMATS}
            files = {kind: stack.enter_context(path.open("wb")) for kind, path in paths.items()}
            tables = [stack.enter_context(FORMATS[kind](file)) for kind, file in files.items()]
            return self._write_rows(tables, rows, metadata)

    def _write_rows(self, tables: Sequence[Write], rows: Iterable[Row], metadata: Metadata) -> int:
        written = 0
        for block in blocks(rows):
            records = [image_record(self._batch, row) for row in block]
            for write in tables:
                write(records)
            metadata.add(block)
            written += len(block)
        return written

    def _write_lines(self, name: str, lines: Iterable[bytes]) -> None:
        with self._open(name) as file:
            file.writelines(lines)

    def _open(self, name: str) -> BinaryIO:
        return self._path(file_key(self._batch, name)).open("wb")

    def _path(self, key: str) -> Path:
        path = self._folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        return path
