"""Image files as bytes: a comment put in after encoding, and the ways to spoil one."""

from __future__ import annotations

import struct
import zlib

PNG_START = b"\x89PNG\r\n\x1a\n"
PNG_HEADER_END = 33  # signature and the IHDR chunk, which must come first


def with_comment(data: bytes, comment: str) -> bytes:
    """The same pixels and other bytes: the comment sits where each format (png, jpg, webp) has room for one."""
    text = comment.encode()
    if data.startswith(PNG_START):
        chunk = _png_chunk(b"iTXt", b"Description\0\0\0\0\0" + text)
        return data[:PNG_HEADER_END] + chunk + data[PNG_HEADER_END:]
    if data.startswith(b"\xff\xd8"):
        text = text[: 0xFFFF - 2]
        return data[:2] + b"\xff\xfe" + struct.pack(">H", len(text) + 2) + text + data[2:]
    padded = text + b"\0" * (len(text) % 2)
    chunks = data[8:] + b"NOTE" + struct.pack("<I", len(text)) + padded  # readers skip chunks they do not know
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


def corrupted(data: bytes) -> bytes:
    """As long as before, a few bytes in the middle turned over: a PNG's checksums no longer agree."""
    middle = len(data) // 2
    return data[:middle] + bytes(byte ^ 0xFF for byte in data[middle : middle + 16]) + data[middle + 16 :]


def bomb(side_px: int) -> bytes:
    """A PNG of a few dozen bytes that claims `side_px` squared pixels."""
    header = struct.pack(">IIBBBBB", side_px, side_px, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(4096))
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return PNG_START + b"".join(_png_chunk(name, body) for name, body in chunks)


def _png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
