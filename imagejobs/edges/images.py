"""Proof that bytes are an intact image. Pure, and safe in any number of threads.

PNG carries a checksum for every chunk, so its own are enough (0.3 ms for 660 KB, against 18 ms for a full decode);
JPEG, WebP and GIF have none and are decoded, every frame. The size is read and judged before any pixel is made.
"""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from dataclasses import dataclass

from PIL import GifImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from imagejobs.edges.fields import excerpt
from imagejobs.errors import Cause, Permanent, Transient


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """An intact image's facts. `extension` has no dot."""

    content_type: str
    extension: str
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Format:
    """`reader` is Pillow's own class for it: `Image.open` would judge the size by a limit global to the process."""

    content_type: str
    extension: str
    reader: type[ImageFile.ImageFile]


_PNG = _Format(content_type="image/png", extension="png", reader=PngImagePlugin.PngImageFile)
_JPEG = _Format(content_type="image/jpeg", extension="jpg", reader=JpegImagePlugin.JpegImageFile)
_WEBP = _Format(content_type="image/webp", extension="webp", reader=WebPImagePlugin.WebPImageFile)
_GIF = _Format(content_type="image/gif", extension="gif", reader=GifImagePlugin.GifImageFile)

_SCAN = b"\xff\xda"
MOST_SCANS = 100  # encoders write about ten; each goes over all pixels anew, and takes but a few bytes of the file

_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    LookupError,
    TypeError,
    ArithmeticError,
    EOFError,
    struct.error,
    zlib.error,
)
"""What reading damaged data raises, in Pillow and here."""


def inspect(data: bytes, *, max_pixels: int, decode: bool = False) -> Checked:
    """What the bytes are, once proven. `decode` makes a PNG's pixels too, as those of the other formats always.

    Raises Transient (cause DOWNLOAD) for anything but an intact PNG, JPEG, WebP or GIF, since another download may
    bring the right bytes, and Permanent (cause DOWNLOAD) for more than `max_pixels` in all frames together.
    """
    kind = _sniff(data)
    if kind is None:
        raise Transient(f"not an image: {_likeness(data)}", cause=Cause.DOWNLOAD)
    try:
        _limit(_claimed_pixels(data, kind), max_pixels=max_pixels)
        return _prove(data, kind, max_pixels=max_pixels, decode=decode)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Permanent(str(error), cause=Cause.DOWNLOAD) from None
    except _DAMAGE as error:
        raise Transient(f"a broken {kind.extension} of {len(data)} bytes: {error}", cause=Cause.DOWNLOAD) from None


def _sniff(data: bytes) -> _Format | None:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _PNG
    if data.startswith(b"\xff\xd8\xff"):
        return _JPEG
    if data.startswith((b"GIF87a", b"GIF89a")):
        return _GIF
    return _WEBP if data.startswith(b"RIFF") and data[8:12] == b"WEBP" else None


def _likeness(data: bytes) -> str:
    """What came instead, for the person who reads the failure: most often an error page with a 200."""
    begin = data[:200].lstrip().lower()
    kinds = {b"<!doctype html": "text/html", b"<html": "text/html", b"<": "XML", b"{": "JSON"}
    kind = next((kind for start, kind in kinds.items() if begin.startswith(start)), None)
    if kind is None:
        return f"{len(data)} bytes that begin with {data[:12].hex(' ')}" if data else "nothing at all"
    return f"{kind}: {excerpt(data)[:120]}"


def _claimed_pixels(data: bytes, kind: _Format) -> int:
    """Width times height by the header alone, for the formats whose readers make room for pixels as they open."""
    if kind is _GIF:
        width, height = struct.unpack_from("<HH", data, 6)
        return int(width * height)
    if kind is _WEBP and data[12:16] == b"VP8X":
        wide = int.from_bytes(data[24:27], "little") + 1
        return wide * (int.from_bytes(data[27:30], "little") + 1)
    if kind is _WEBP and data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return ((bits & 0x3FFF) + 1) * ((bits >> 14 & 0x3FFF) + 1)
    if kind is _WEBP:
        width, height = struct.unpack_from("<HH", data, 26)
        return int((width & 0x3FFF) * (height & 0x3FFF))
    return 0


def _limit(pixels: int, *, max_pixels: int) -> None:
    if pixels > max_pixels:
        raise Permanent(f"an image of {pixels} pixels, more than {max_pixels}", cause=Cause.DOWNLOAD)


def _prove(data: bytes, kind: _Format, *, max_pixels: int, decode: bool) -> Checked:
    if kind is _PNG:
        _check_chunks(data)  # first of all: Pillow tries to make sense of a damaged chunk, and warns
    with kind.reader(io.BytesIO(data)) as image:
        width, height = image.size
        _limit(width * height, max_pixels=max_pixels)
        if kind is _JPEG and data.count(_SCAN) > MOST_SCANS:
            raise Permanent(f"a jpg of {data.count(_SCAN)} scans, more than {MOST_SCANS}", cause=Cause.DOWNLOAD)
        if kind is _GIF and not data.rstrip(b"\0").endswith(b";"):
            raise ValueError("its end is missing")  # Pillow takes a file cut between two frames for a shorter one
        if kind is not _PNG or decode:
            _decode(image, max_pixels=max_pixels)
    return Checked(content_type=kind.content_type, extension=kind.extension, width=width, height=height)


def _check_chunks(data: bytes) -> None:
    """Every chunk's checksum, up to and with the one that ends the file; Pillow's `verify` leaves the last one out."""
    view, place, has_pixels = memoryview(data), 8, False
    while True:
        (length,) = struct.unpack_from(">I", view, place)
        end = place + 8 + length
        (checksum,) = struct.unpack_from(">I", view, end)
        if zlib.crc32(view[place + 4 : end]) != checksum:
            raise ValueError("a chunk's checksum is wrong")
        kind = bytes(view[place + 4 : place + 8])
        has_pixels = has_pixels or kind == b"IDAT"
        if kind == b"IEND":
            break
        place = end + 4
    if not has_pixels:
        raise ValueError("it has no pixels")


def _decode(image: ImageFile.ImageFile, *, max_pixels: int) -> None:
    """Make every frame's pixels; the limit is on their sum, or a small file could keep a processor busy for hours."""
    for frame in itertools.count():
        try:
            image.seek(frame)
        except EOFError:
            return
        _limit((frame + 1) * image.width * image.height, max_pixels=max_pixels)
        image.load()
