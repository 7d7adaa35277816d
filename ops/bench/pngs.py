"""What the sink wants to know of a PNG: whose it is, and whether every byte of it arrived."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator

START = b"\x89PNG\r\n\x1a\n"
COMMENT = b"Description\0\0\0\0\0"  # the sandbox writes what it was asked for into each picture, uncompressed


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Name, body and whether the checksum agrees, as far as the data go."""
    place = len(START)
    while place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        named = data[place + 4 : place + 8 + length]
        check = data[place + 8 + length : place + 12 + length]
        yield named[:4], named[4:], zlib.crc32(named).to_bytes(4, "big") == check
        place += 12 + length


def prompt_of(data: bytes) -> str | None:
    """The prompt that a picture of the sandbox was made for; None for anything else."""
    if not data.startswith(START):
        return None
    for name, body, _ in chunks(data):
        if name == b"iTXt" and body.startswith(COMMENT):
            return str(json.loads(body.removeprefix(COMMENT))["prompt"])
        if name == b"IDAT":
            break  # the comment comes before the pixels
    return None


def is_intact(data: bytes) -> bool:
    """Every chunk's checksum agrees, and the last one is the end."""
    name = b""
    for name, _, agrees in chunks(data):  # noqa: B007 - the last name is wanted
        if not agrees:
            return False
    return name == b"IEND"
