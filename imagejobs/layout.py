"""Where everything of a batch lies in the store: the one place that spells object keys.

Scripts outside rely on these names. Keys are deterministic, so that doing a thing twice overwrites it with itself.
Batch keys and row ids are checked when they are accepted: here they are taken to be safe as parts of a path.
"""

from __future__ import annotations

import posixpath

METADATA = "metadata.jsonl"
FAILED = "failed.jsonl"
FAILURES = "failures.jsonl"
MARKER = "_SUCCESS"


def image_name(row_id: str, index: int, extension: str) -> str:
    """The image's path inside its batch. `extension` comes without a dot: `png`.

    No two images share a name: an index is a number, so the last hyphen always parts it from the id.
    """
    return f"images/{row_id}-{index}.{extension}"


def image_key(batch: str, row_id: str, index: int, extension: str) -> str:
    """The key of one image; `index` is the provider's own, so a withheld sibling leaves a gap."""
    return f"{batch}/{image_name(row_id, index, extension)}"


def extension_of(uri: str) -> str:
    """The extension that an image was stored with, without its dot."""
    return posixpath.splitext(uri)[1].removeprefix(".")


def part_key(batch: str, number: int, extension: str) -> str:
    """The key of one part of the manifest; parts count from 0."""
    return f"{batch}/manifest/part-{number:05d}.{extension}"


def file_key(batch: str, name: str) -> str:
    """The key of one of the files that a batch has just one of: `METADATA`, `FAILED`, `FAILURES` or `MARKER`."""
    return f"{batch}/{name}"
