"""The manifest: one row an image, saying where it is and all that made it. As JSON lines, Parquet or CSV.

Rows come from `Ledger.views.image_rows`, become records, and are written a block at a time, so that a million of them
need no more memory than a few thousand. JSON lines hold times as ISO 8601 texts and `input` and `tags` as objects;
Parquet holds timestamps and JSON texts, so that its schema is the same for every model; CSV holds texts for both.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import chain, islice
from typing import Any, BinaryIO, TypeAlias

from pydantic_core import from_json, to_json

SCHEMA_VERSION = 1
COLUMNS = {
    "batch": "string",
    "id": "string",
    "index": "int32",
    "uri": "string",
    "sha256": "string",
    "bytes": "int64",
    "width": "int32",
    "height": "int32",
    "content_type": "string",
    "version": "string",
    "input": "string",  # JSON
    "seed": "int64",  # null for a model that takes none
    "prediction_id": "string",  # null where a proxy answered with the images themselves
    "attempt": "int32",
    "created_at": "timestamp",  # the provider took it
    "completed_at": "timestamp",  # the provider had it ready
    "stored_at": "timestamp",  # verified in the store
    "predict_time_s": "double",
    "tags": "string",  # JSON; null without tags
    "schema_version": "int32",
}
_TIMES = tuple(name for name, kind in COLUMNS.items() if kind == "timestamp")
_FACTS = tuple(name for name in COLUMNS if name not in ("batch", "seed", "schema_version"))
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - UTC by its use; a zone would only have to be cut off each text again
_BLOCK_ROWS = 4096
_BLOCK_CHARACTERS = 16 * 2**20  # an input may be a megabyte

Row: TypeAlias = Mapping[str, Any]
Write: TypeAlias = Callable[[Sequence[Row]], None]
Writer: TypeAlias = Callable[[BinaryIO], AbstractContextManager[Write]]
"""Opens a table in a binary file and gives what writes records to it; the block's end ends the table, not the file."""


def image_record(batch: str, row: Row) -> dict[str, Any]:
    """The manifest's row of one image. Times are still seconds; `input` and `tags` are still JSON texts."""
    facts = {name: row[name] for name in _FACTS}
    return {"batch": batch, **facts, "seed": _seed(row["input"]), "schema_version": SCHEMA_VERSION}


def as_json(record: Row) -> bytes:
    """The record as one line of JSON."""
    tags = record["tags"]
    parsed = {"input": from_json(record["input"]), "tags": None if tags is None else from_json(tags)}
    return to_line({**record, **parsed, **{name: iso(record[name]) for name in _TIMES}})


def to_line(value: Row) -> bytes:
    """One JSON object on one line, its keys in their order, in UTF-8."""
    return to_json(value) + b"\n"


def iso(seconds: float | None) -> str | None:
    """A moment as ISO 8601 text in UTC, to the microsecond: `2025-11-24T04:16:00.250000Z`."""
    if seconds is None:
        return None
    moment = _EPOCH + timedelta(microseconds=round(seconds * 1_000_000))
    return moment.isoformat(timespec="microseconds") + "Z"


def microseconds(seconds: float | None) -> int | None:
    """A moment as whole microseconds since the epoch."""
    return None if seconds is None else round(seconds * 1_000_000)


def _seed(text: str) -> int | None:
    seed = from_json(text).get("seed")
    return seed if type(seed) is int else None


def failure_record(row: Row) -> dict[str, Any]:
    """Why a job has not all its images, from a row of `job_rows`."""
    names = ("line", "state", "cause", "error", "attempt", "version")
    return {"id": row["row_id"], **{name: row[name] for name in names}}


def resubmittable(row: Row) -> dict[str, Any]:
    """What was asked, from a row of `job_rows`, with no key but those that `submit` takes."""
    tags = {"tags": from_json(row["tags"])} if row["tags"] else {}
    return {"id": row["row_id"], "version": row["version"], "input": from_json(row["input"]), **tags}


def blocks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """The rows in lists that fit into memory, whatever the size of their inputs."""
    block: list[Row] = []
    characters = 0
    for row in rows:
        block.append(row)
        characters += len(row["input"])
        if len(block) >= _BLOCK_ROWS or characters >= _BLOCK_CHARACTERS:
            yield block
            block, characters = [], 0
    if block:
        yield block


def parts_of(rows: Iterator[Row], *, most_rows: int) -> Iterator[Iterator[Row]]:
    """The rows in parts of `most_rows`, at least one part; each has to be used up before the next one is taken."""
    first = next(rows, None)
    yield chain([] if first is None else [first], islice(rows, most_rows - 1))
    for row in rows:
        yield chain([row], islice(rows, most_rows - 1))


@lru_cache
def parquet_schema() -> Any:
    """The declared schema of the manifest's Parquet files, a `pyarrow.Schema`."""
    import pyarrow

    kinds = {"timestamp": pyarrow.timestamp("us", tz="UTC"), "double": pyarrow.float64()}
    return pyarrow.schema([(name, kinds.get(kind) or getattr(pyarrow, kind)()) for name, kind in COLUMNS.items()])


@contextmanager
def jsonl_writer(file: BinaryIO) -> Iterator[Write]:
    """A line an image."""
    yield lambda records: file.writelines(map(as_json, records))


@contextmanager
def csv_writer(file: BinaryIO) -> Iterator[Write]:
    """A header and a record an image, as RFC 4180 has it."""

    def write(records: Sequence[Row]) -> None:
        text = io.StringIO()
        csv.DictWriter(text, COLUMNS).writerows(records)
        file.write(text.getvalue().encode())

    write([{name: name for name in COLUMNS}])
    yield lambda records: write([{**record, **{name: iso(record[name]) for name in _TIMES}} for record in records])


@contextmanager
def parquet_writer(file: BinaryIO) -> Iterator[Write]:
    """A row group a block, with the declared schema, compressed with Zstandard."""
    from pyarrow import Table, parquet

    def write(records: Sequence[Row]) -> None:
        columns = {name: [record[name] for record in records] for name in COLUMNS}
        columns |= {name: [microseconds(moment) for moment in columns[name]] for name in _TIMES}
        table.write_table(Table.from_pydict(columns, schema=parquet_schema()))

    table = parquet.ParquetWriter(file, parquet_schema(), compression="zstd")
    try:
        yield write
        table.close()
    finally:
        table.is_open = False  # left open by an error, it would end the torn table as if it were whole, once collected
