"""`metadata.jsonl`, which makes a batch's folder a data set that Hugging Face's `datasets` loads as `imagefolder`.

    load_dataset("imagefolder", data_dir=folder, data_files="metadata.jsonl")

Without `data_files` it loads as well, unless ids or folders are named `test`, `train` or the like: `datasets` then
takes those for splits, and leaves the metadata out.

That library takes each column's type from the first ten megabytes of the file, and fails on a row that does not fit
(https://github.com/huggingface/datasets/blob/main/src/datasets/packaged_modules/folder_based_builder/folder_based_builder.py).
Therefore every row has the same columns, and none is ever null: what all images of the batch have, as one plain kind
of value, gets a column of its own (`prompt`, `width`, `tags.mood`); `input` and `tags` hold everything, as JSON text.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

from pydantic_core import from_json

from imagejobs.layout import extension_of, image_name
from imagejobs.manifest import Row, to_line

_TAG = "tags."
# `image` is what `datasets` makes of `file_name`, and it takes every other name that ends so for a file's name too.
_TAKEN = re.compile(r"file_name|id|index|version|input|tags|image|(?:.*_)?file_names?")
_NUMBERS = frozenset({int, float})
_DATE = re.compile(r"\d{4}-\d\d-\d\d")  # read as a date where all rows of a piece look like one, as text elsewhere


class _Date:
    """The kind of a text that might be read as a date."""


class Metadata:
    """The file in the making. Only the whole batch tells which columns its rows share: until then they wait in `spool`.

    That is an empty file, open for writing and reading, which grows to about the size of `metadata.jsonl` itself.
    """

    def __init__(self, spool: BinaryIO) -> None:
        self._spool = spool
        self._rows = 0
        self._kinds: Counter[tuple[str, type]] = Counter()

    def add(self, rows: Sequence[Row]) -> None:
        """Take up these rows of `image_rows`."""
        records = [_bare_record(row) for row in rows]
        for record in records:
            self._kinds.update((name, _kind(value)) for name, value in _fields(record).items())
        self._rows += len(records)
        self._spool.writelines(map(to_line, records))

    def lines(self) -> Iterator[bytes]:
        """The file's lines, in the order in which the rows came. Nothing can be added after that."""
        shared = self._shared()
        self._spool.seek(0)
        for line in self._spool:
            record = from_json(line)
            fields = _fields(record)
            yield to_line({**record, **{name: convert(fields[name]) for name, convert in shared.items()}})

    def _shared(self) -> dict[str, Callable[[Any], Any]]:
        """The names that every row has, in a kind they have in common, each with what makes a value that kind."""
        counts: Counter[str] = Counter()
        kinds: defaultdict[str, set[type]] = defaultdict(set)
        for (name, kind), count in self._kinds.items():
            counts[name] += count
            kinds[name].add(kind)
        everywhere = [name for name in counts if counts[name] == self._rows and not _TAKEN.fullmatch(name)]
        return {name: convert for name in everywhere if (convert := _common(kinds[name])) is not None}


def _bare_record(row: Row) -> dict[str, Any]:
    return {
        "file_name": image_name(row["id"], row["index"], extension_of(row["uri"])),
        "id": row["id"],
        "index": row["index"],
        "version": row["version"],
        "input": row["input"],
        "tags": row["tags"] or "{}",
    }


def _fields(record: Row) -> dict[str, Any]:
    tags = {_TAG + name: value for name, value in from_json(record["tags"]).items()}
    return {**from_json(record["input"]), **tags}


def _kind(value: Any) -> type:
    return _Date if isinstance(value, str) and _DATE.match(value) else type(value)


def _common(kinds: set[type]) -> Callable[[Any], Any] | None:
    """What makes values of these kinds one: whole numbers among fractions become fractions; none if nothing does."""
    if kinds == _NUMBERS:
        return float
    kind = next(iter(kinds))
    return kind if len(kinds) == 1 and kind in (str, int, float, bool) else None
