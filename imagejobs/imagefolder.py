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

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from imagejobs.layout import extension_of, image_name
from imagejobs.manifest import Row

_TAG = "tags."
# `image` is what `datasets` makes of `file_name`, and it takes every other name that ends so for a file's name too.
_TAKEN = re.compile(r"file_name|id|index|version|input|tags|image|(?:.*_)?file_names?")
_NUMBERS = frozenset({int, float})
_DATE = re.compile(r"\d{4}-\d\d-\d\d")  # read as a date where all rows of a piece look like one, as text elsewhere


class _Date:
    """The kind of a text that might be read as a date."""


class Columns:
    """Which fields of a batch's inputs and tags get a column of their own. All its rows are shown to it first."""

    def __init__(self) -> None:
        self._rows = 0
        self._kinds: Counter[tuple[str, type]] = Counter()

    def look_at(self, row: Row) -> None:
        """Take note of what this row of `image_rows` has."""
        self._rows += 1
        self._kinds.update((name, _kind(value)) for name, value in _fields(row).items())

    def shared(self) -> dict[str, Callable[[Any], Any]]:
        """The names that every row has, in a kind they share, each with what makes a value that kind."""
        kinds: defaultdict[str, dict[type, int]] = defaultdict(dict)
        for (name, kind), count in self._kinds.items():
            kinds[name][kind] = count
        everywhere = {name: set(found) for name, found in kinds.items() if sum(found.values()) == self._rows}
        return {name: shared for name, found in everywhere.items() if (shared := _shared(found)) is not None}


def metadata_record(row: Row, shared: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    """The line of one image; `shared` is what `Columns` made of the whole batch."""
    fields = _fields(row)
    return {
        "file_name": image_name(row["id"], row["index"], extension_of(row["uri"])),
        "id": row["id"],
        "index": row["index"],
        "version": row["version"],
        **{name: convert(fields[name]) for name, convert in shared.items()},
        "input": row["input"],
        "tags": row["tags"] or "{}",
    }


def _fields(row: Row) -> dict[str, Any]:
    given = json.loads(row["input"])
    tags = json.loads(row["tags"]) if row["tags"] else {}
    fields = {name: value for name, value in given.items() if not name.startswith(_TAG)}
    fields |= {_TAG + name: value for name, value in tags.items()}
    return {name: value for name, value in fields.items() if not _TAKEN.fullmatch(name)}


def _kind(value: Any) -> type:
    return _Date if isinstance(value, str) and _DATE.match(value) else type(value)


def _shared(kinds: set[type]) -> Callable[[Any], Any] | None:
    """What makes values of these kinds one: whole numbers among fractions become fractions; none if nothing does."""
    if kinds == _NUMBERS:
        return float
    kind = next(iter(kinds))
    return kind if len(kinds) == 1 and kind in (str, int, float, bool) else None
