"""The file formats that rows come in: JSON lines, CSV and Parquet, read row by row, a bounded piece at a time.

A row leaves here as the bytes of its line, as a mapping (tables), or as the fault that is all that can be said of it.
A file that cannot be read on from some place raises BadInput with that line.
"""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

from pydantic_core import from_json

from imagejobs.errors import BadInput, Complaint, Fault
from imagejobs.spec import MAX_ROW_BYTES

Raw: TypeAlias = bytes | Mapping[str, Any] | Fault
Kinds: TypeAlias = Callable[[Any], Mapping[str, str]]  # a row's own version, or None -> JSON type by input name

LINES = (".jsonl", ".ndjson")
_BOM = b"\xef\xbb\xbf"
_PARQUET_ROWS = 256  # decoded at once: enough to be quick, little enough for rows of a megabyte
_ROW_KINDS = {"input": "object", "tags": "object"}


def suffixes(path: Path) -> tuple[str, str]:
    """The format's suffix and `.gz` or nothing. Raises Complaint for a format that is not read here."""
    squeezed = ".gz" if path.suffix.lower() == ".gz" else ""
    suffix = path.with_suffix("").suffix.lower() if squeezed else path.suffix.lower()
    if suffix in (*LINES, ".csv") or (suffix == ".parquet" and not squeezed):
        return suffix, squeezed
    raise Complaint(
        f"{path}: rows come as .jsonl, .ndjson, .csv (each also .gz) or .parquet; "
        f"one JSON array becomes lines by: jq -c '.[]' {path.name} > {path.stem}.jsonl"
    )


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file's content, decompressed. Raises Complaint when it is missing, unreadable, damaged or cut off."""
    squeezed = suffixes(path)[1]
    try:
        with gzip.open(path) if squeezed else path.open("rb") as file:
            yield cast("BinaryIO", file)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise Complaint(f"{path}: a damaged or cut off gzip file ({error})") from None
    except OSError as error:
        raise Complaint(f"{path}: cannot be read ({error.strerror or error})") from None


def read_rows(path: Path, *, kinds: Kinds) -> Iterator[tuple[int, Raw]]:
    """Every row with its line (in Parquet: its number), blank ones left out.

    `kinds` is asked for tables, whose cells become what the model takes: a text 768 becomes a number, 768.0 a whole
    one. A cell that does not fit stays as it is, and is refused by the model's check.
    """
    suffix, _ = suffixes(path)
    with opened(path) as file:
        if suffix == ".csv":
            yield from _table_rows(_read_csv(file), kinds)
        elif suffix == ".parquet":
            yield from _table_rows(_read_parquet(file, path), kinds)
        else:
            yield from ((line, raw) for line, raw in enumerate(_lines(file), start=1) if not raw.isspace())


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The file's lines, blank ones too; one that is too long comes cut, just long enough to be refused for it."""
    bom = _BOM
    while raw := file.readline(MAX_ROW_BYTES + 1):
        if len(raw) > MAX_ROW_BYTES:
            _skip_rest(raw, file)
        yield raw.removeprefix(bom)
        bom = b""


def _skip_rest(raw: bytes, file: BinaryIO) -> None:
    while raw and not raw.endswith(b"\n"):
        raw = file.readline(MAX_ROW_BYTES)


def _read_csv(file: BinaryIO) -> Iterator[tuple[int, dict[str, Any] | Fault]]:
    """Rows under a header. Bytes that are not UTF-8 travel on as half characters, to be refused in their own row."""
    reader = csv.reader((raw.decode("utf-8", "surrogateescape") for raw in _lines(file)), strict=True)
    header = _next_cells(reader) or []
    if len(set(header)) < len(header) or not all(header):
        raise BadInput([Fault(1, "", "the header must name every column, each differently")])
    while (cells := _next_cells(reader)) is not None:
        line = reader.line_num - sum(cell.count("\n") for cell in cells)
        if len(cells) == len(header):
            yield line, dict(zip(header, cells, strict=True))
        elif cells:
            yield line, Fault(line, "", f"has {len(cells)} cells where the header has {len(header)}")


def _next_cells(reader: Any) -> list[str] | None:
    line = reader.line_num + 1
    try:
        return next(reader, None)
    except csv.Error as error:
        raise BadInput([Fault(line, "", f"not CSV from here on ({error}): is a quote left open?")]) from None


def _read_parquet(file: BinaryIO, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow
    from pyarrow import parquet

    try:
        batches = parquet.ParquetFile(file).iter_batches(batch_size=_PARQUET_ROWS)
        yield from enumerate((row for batch in batches for row in batch.to_pylist()), start=1)
    except (pyarrow.ArrowException, ValueError, OverflowError) as error:  # dates beyond Python's, text that is none
        raise Complaint(f"{path}: not a readable Parquet file ({str(error)[:200]})") from None


def _table_rows(table: Iterable[tuple[int, dict[str, Any] | Fault]], kinds: Kinds) -> Iterator[tuple[int, Raw]]:
    """Rows without their empty cells, and none at all for a row of nothing else."""
    for line, cells in table:
        if isinstance(cells, Fault):
            yield line, cells
            continue
        full = {name: value for name, value in cells.items() if not _is_empty(value)}
        if full:
            yield line, _typed_row(full, kinds(full.get("version")))


def _typed_row(cells: Mapping[str, Any], kinds: Mapping[str, str]) -> dict[str, Any]:
    """Each cell as the type it is wanted in; the columns `tags.…` become the row's tags, always as they stand."""
    flat = {name: value for name, value in cells.items() if not name.startswith("tags.")}
    row = {name: _fit(value, _ROW_KINDS.get(name) or kinds.get(name, "")) for name, value in flat.items()}
    tags = {name.removeprefix("tags."): value for name, value in cells.items() if name not in flat}
    own = row.get("tags", {})
    return {**row, "tags": {**own, **tags}} if tags and isinstance(own, dict) else row


def _is_empty(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _fit(value: Any, kind: str) -> Any:
    if isinstance(value, str) and kind not in ("string", ""):
        try:
            value = from_json(value.lower() if kind == "boolean" else value)
        except (ValueError, TypeError):  # TypeError: it was not UTF-8
            return value
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    return value
