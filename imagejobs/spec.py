"""From a row to a Spec: one JSON object becomes what will be sent, or a list of faults that says how to mend it.

A row has one of two forms, and the provider's own request body is one of the first:

    {"id": "r1", "version": "owner/name:hash", "input": {"prompt": "…", "width": 768}, "tags": {"chapter": 1}}
    {"id": "r1", "prompt": "…", "width": 768, "tags": {"chapter": 1}}

`id`, `version` and `tags` may be left out. Null is as good as left out, which is how tables write an empty cell.
Nothing is guessed: a key that nobody reads is a fault, since it is a misspelt wish more often than not.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import chain, islice
from typing import Any, NamedTuple

from pydantic_core import from_json

from imagejobs.errors import BadInput, Fault
from imagejobs.job import Spec
from imagejobs.models.check import InputCheck
from imagejobs.models.wording import shown, shown_key, unknown_key

MAX_ROW_BYTES = 2**20  # a row is held whole, and so are a few thousand of them on their way to the ledger
KEYS = ("id", "input", "tags", "version")

_MOST_FAULTS = 20  # of one row
_MOST_TAGS = 64
_TAG_NAME_CHARACTERS = 64
_TAG_CHARACTERS = 1024
_MESSAGE_CHARACTERS = 160  # of a library's own text
_NOT_UTF8 = "not UTF-8 text: save the file as UTF-8"
_WHOLE_NUMBERS = range(-(2**63), 2**63)  # what databases and Parquet hold
_NAME = re.compile(r"(?!.*\.\.)[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9_-])?")
_VERSION_CHARACTERS = 100 + 1 + 100 + 1 + 64
_VERSION = re.compile(r"(?:[\w.-]{1,100}/[\w.-]{1,100}(?::[0-9a-f]{64})?|[0-9a-f]{64})", re.ASCII)

NAME_RULE = 'must be 1 to 128 of the characters A-Z a-z 0-9 . _ -, first a letter or digit, no dot at the end, no ".."'
_VERSION_RULE = "must be owner/name:version or the version's 64 hexadecimal digits (owner/name for official models)"


class _Row(NamedTuple):
    """A row in its parts. `rest` are keys beside a nested input, where none belong; None in the short form."""

    id: Any
    version: Any
    input: Any
    tags: Any
    rest: Mapping[str, Any] | None


def parse_row(
    raw: bytes | Mapping[str, Any],
    *,
    line: int,
    number: int,
    default_version: str,
    batch: str,
    checks: Callable[[str], InputCheck],
) -> Spec:
    """The row's Spec, with defaults and a seed written in: what is recorded is what will be sent.

    `line` is where the row stands in its file, `number` counts rows from 1 and names those without an id. A seed that
    the model takes and the row does not give is derived from `batch` and id: the same batch makes the same images.
    Raises BadInput with the row's faults, and BadSetting (from `checks`) when a model's schema cannot be had.
    """
    row = _unfold(_load(raw, line=line), number=number, default_version=default_version)
    _raise_any(_row_faults(row, line=line))
    check = checks(row.version)
    given = row.input
    _raise_any(_input_faults(row, check.kinds, line=line))
    if check.seeds is not None and "seed" not in given:
        given["seed"] = derive_seed(batch, row.id, seeds=check.seeds)
    accepted = check(given, line=line)
    return Spec(
        id=row.id,
        line=line,
        version=row.version,
        input=accepted,
        outputs=_outputs(accepted),
        tags=row.tags or None,
    )


def derive_seed(batch: str, row_id: str, *, seeds: range) -> int:
    """The seed of a row that names none. Changing this rule would change every image of a repeated batch."""
    digest = hashlib.sha256(f"{batch}/{row_id}".encode()).digest()
    return seeds[int.from_bytes(digest[:8], "big") % len(seeds)]


def is_name(text: Any) -> bool:
    """Whether a text can be a file's name and part of an object's key on every system (see `NAME_RULE`)."""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


def is_version(text: Any) -> bool:
    """Whether a text can be a model version: owner/name:hash, the hash alone, or an official model's owner/name."""
    return isinstance(text, str) and len(text) <= _VERSION_CHARACTERS and _is_version(text)


@lru_cache(maxsize=64)  # a file has few, and none is long
def _is_version(text: str) -> bool:
    return _VERSION.fullmatch(text) is not None


def row_bytes(row: Mapping[str, Any], *, line: int) -> bytes:
    """A row of a table or of a program as JSON. Raises BadInput for what JSON cannot say: dates, bytes, NaN."""
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeError:
        raise BadInput([Fault(line, "", _NOT_UTF8)]) from None
    except (ValueError, TypeError, RecursionError) as error:
        raise BadInput([Fault(line, "", f"cannot be written as JSON: {str(error)[:_MESSAGE_CHARACTERS]}")]) from None


def _load(raw: bytes | Mapping[str, Any], *, line: int) -> dict[str, Any]:
    """The row's object without its nulls. Mappings take the same way as bytes, so the caller's are never touched."""
    text = raw if isinstance(raw, bytes) else row_bytes(raw, line=line)
    if len(text) > MAX_ROW_BYTES:
        raise BadInput([Fault(line, "", f"larger than {MAX_ROW_BYTES} bytes: a row is one object on one line")])
    try:
        row = from_json(text)
    except ValueError as error:
        raise BadInput([Fault(line, "", _not_json(text, str(error)))]) from None
    if not isinstance(row, dict):
        raise BadInput([Fault(line, "", f'must be a JSON object like {{"prompt": "…"}}, not {shown(row)}')])
    return _without_nulls(row)


def _not_json(text: bytes, error: str) -> str:
    if b"\0" in text:
        return "holds NUL bytes: save the file as UTF-8 text"
    if "unicode code point" in error:
        return _NOT_UTF8
    return "not JSON: " + error.replace("line 1 column", "column")[:_MESSAGE_CHARACTERS]


def _without_nulls(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None} if None in row.values() else row


def _unfold(row: dict[str, Any], *, number: int, default_version: str) -> _Row:
    row_id = row.pop("id") if "id" in row else f"row-{number:06d}"
    version = row.pop("version", default_version)
    tags = row.pop("tags", {})
    nested = "input" in row
    given = row.pop("input") if nested else row
    return _Row(
        id=str(row_id) if type(row_id) is int else row_id,
        version=version,
        input=_without_nulls(given) if isinstance(given, dict) else given,
        tags=_without_nulls(tags) if isinstance(tags, dict) else tags,
        rest=row if nested else None,
    )


def _raise_any(faults: Iterable[Fault]) -> None:
    first = list(islice(faults, _MOST_FAULTS))
    if first:
        raise BadInput(first)


def _row_faults(row: _Row, *, line: int) -> Iterator[Fault]:
    if not is_name(row.id):
        yield Fault(line, "id", f"{NAME_RULE} (it names files), not {shown(row.id)}")
    if not is_version(row.version):
        yield Fault(line, "version", f"{_VERSION_RULE}, not {shown(row.version)}")
    if not isinstance(row.input, dict):
        yield Fault(line, "input", f'must be an object like {{"prompt": "…"}}, not {shown(row.input)}')
    elif not row.input:
        yield Fault(line, "", 'asks for nothing: give a "prompt" at least')
    for name in row.rest or {}:
        yield Fault(line, shown_key(name), unknown_key(name, KEYS) + ' (what the model is to read belongs in "input")')
    if row.tags != {}:
        yield from _tag_faults(row.tags, line=line)


def _tag_faults(tags: Any, *, line: int) -> Iterator[Fault]:
    if not isinstance(tags, dict):
        yield Fault(line, "tags", f'must be an object like {{"chapter": 1}}, not {shown(tags)}')
        return
    if len(tags) > _MOST_TAGS:
        yield Fault(line, "tags", f"must be {_MOST_TAGS} at most, not {len(tags)}")
    for name, value in tags.items():
        if not 0 < len(name) <= _TAG_NAME_CHARACTERS:
            yield Fault(line, "tags", f"names must be 1 to {_TAG_NAME_CHARACTERS} characters, not {shown(name)}")
        elif not isinstance(value, str | int | float) or (isinstance(value, str) and len(value) > _TAG_CHARACTERS):
            rule = f"must be text of at most {_TAG_CHARACTERS} characters, a number, true or false"
            yield Fault(line, f"tags.{shown_key(name)}", f"{rule}, not {shown(value)}")
        elif unfit := _unfit(name) or _unfit(value):
            yield Fault(line, f"tags.{shown_key(name)}", unfit)


def _input_faults(row: _Row, kinds: Mapping[str, str] | None, *, line: int) -> Iterator[Fault]:
    for name, value in row.input.items():
        if kinds is not None and name not in kinds:
            beside = KEYS if row.rest is None else ()
            yield Fault(line, shown_key(name), unknown_key(name, {*kinds, *beside}))
        elif unfit := _unfit(value) or (None if kinds else _unfit(name)):  # a name that the model knows is fit
            yield Fault(line, shown_key(name), unfit)


def _unfit(value: Any) -> str | None:
    """What JSON's grammar lets through and databases, Parquet or the provider do not take."""
    if isinstance(value, str):
        return "holds a NUL character" if "\0" in value else None
    if isinstance(value, float):
        return None if math.isfinite(value) else "holds a number too large for anybody"
    if isinstance(value, int):
        return None if value in _WHOLE_NUMBERS else f"must be a whole number of 64 bits, not {shown(value)}"
    if isinstance(value, dict):
        return next(filter(None, map(_unfit, chain(value, value.values()))), None)
    return next(filter(None, map(_unfit, value)), None) if isinstance(value, list) else None


def _outputs(accepted: Mapping[str, Any]) -> int:
    """How many images the input asks for. An unchecked model may mean something else by the name: then one."""
    wanted = accepted.get("num_outputs", 1)
    return wanted if type(wanted) is int and wanted >= 1 else 1
