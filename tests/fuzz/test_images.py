"""Image files, mutated in their structure: refused or proven, in bounded time and memory, never believed wrongly."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import textwrap
import time
import warnings
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imagejobs.edges.images import Checked, inspect
from imagejobs.errors import Cause, Permanent, Transient
from tests.fuzz.budget import examples

# Pillow warns of damage that it then works around; a worker's log is not harmed.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

LIMIT = 20_000
SECONDS = 10.0  # far more than any image below LIMIT takes, also on a busy machine


def encode(kind: str, *, size: tuple[int, int] = (24, 20), frames: int = 1, mode: str = "RGB", **options: Any) -> bytes:
    """A picture with something in it."""
    shades = [Image.effect_mandelbrot(size, (-2, -1.5, 1, 1.5), 40 + 9 * n).convert(mode) for n in range(frames)]
    more = {"save_all": True, "append_images": shades[1:]} if frames > 1 else {}
    file = io.BytesIO()
    shades[0].save(file, format=kind, **more, **options)
    return file.getvalue()


PNGS = [
    encode("PNG"),
    encode("PNG", mode="P"),
    encode("PNG", mode="LA"),
    encode("PNG", frames=2),
    encode("PNG", dpi=(90, 90)),
]
WEBPS = [
    encode("WEBP"),
    encode("WEBP", lossless=True),
    encode("WEBP", frames=3),
    encode("WEBP", mode="RGBA", exif=b"x"),
]
JPEGS = [encode("JPEG"), encode("JPEG", progressive=True), encode("JPEG", mode="L", restart_marker_rows=1)]
GIFS = [encode("GIF"), encode("GIF", frames=3), encode("GIF", frames=3, disposal=2)]
NUMBERS = st.sampled_from([0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0xFFFF, 0x10000, 2**31 - 1, 2**31, 2**32 - 1])


def look(data: bytes, *, decode: bool = False) -> Checked | None:
    """The facts, or None when it is refused as it should be; the time is bounded."""
    began = time.monotonic()
    try:
        return inspect(data, max_pixels=LIMIT, decode=decode)
    except (Transient, Permanent) as error:
        assert error.cause is Cause.DOWNLOAD
        assert str(error).isprintable()
        assert len(str(error)) < 1000
        return None
    finally:
        assert time.monotonic() - began < SECONDS


def assert_decodes(data: bytes, checked: Checked) -> None:
    """Pillow, left to itself, makes the same of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(data)) as image:
            assert (checked.width, checked.height) == image.size
            image.load()
            assert (checked.width, checked.height) == image.size
            assert checked.content_type == Image.MIME[image.format or ""]


def chunks_of(png: bytes) -> list[tuple[bytes, bytes]]:
    """A PNG's chunks."""
    place, found = 8, []
    while place < len(png):
        (length,) = struct.unpack_from(">I", png, place)
        found.append((png[place + 4 : place + 8], png[place + 8 : place + 8 + length]))
        place += 12 + length
    return found


def png_of(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG of these chunks, each with the right checksum."""
    parts = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


KINDS = [
    b"IHDR",
    b"PLTE",
    b"IDAT",
    b"IEND",
    b"tRNS",
    b"zTXt",
    b"iTXt",
    b"iCCP",
    b"acTL",
    b"fcTL",
    b"fdAT",
    b"pHYs",
    b"eXIf",
]


@st.composite
def spoiled_pngs(draw: st.DrawFn) -> bytes:
    """Chunks doubled, dropped, moved, renamed and rewritten, and signed anew."""
    chunks = chunks_of(draw(st.sampled_from(PNGS)))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(chunks) - 1))
        kind, body = chunks[place]
        match draw(st.integers(0, 6)):
            case 0:
                chunks.insert(draw(st.integers(0, len(chunks))), (kind, body))
            case 1 if len(chunks) > 1:
                del chunks[place]
            case 2:
                chunks[place] = (draw(st.sampled_from(KINDS)), body)
            case 3:
                chunks.insert(place, (draw(st.sampled_from(KINDS)), draw(st.binary(max_size=40))))
            case 4 if len(body) >= 4:
                at = draw(st.integers(0, len(body) - 4))
                chunks[place] = (kind, body[:at] + struct.pack(">I", draw(NUMBERS)) + body[at + 4 :])
            case 5:
                chunks[place] = (kind, body[: draw(st.integers(0, len(body)))])
            case _:
                chunks[place] = (
                    kind,
                    zlib.compress(draw(st.binary(max_size=20)) * draw(st.sampled_from([1, 100_000]))),
                )
    return png_of(chunks)


@given(spoiled_pngs())
@settings(max_examples=examples(300))
def test_a_png_of_spoiled_chunks(data: bytes):
    """Decoded, what is accepted is an image; by its checksums alone, at least nothing breaks and its size is right."""
    look(data)
    if (checked := look(data, decode=True)) is not None:
        assert_decodes(data, checked)


@st.composite
def spoiled(draw: st.DrawFn, samples: list[bytes]) -> bytes:
    """Fields overwritten with numbers that are too large, pieces moved, doubled and cut."""
    data = bytearray(draw(st.sampled_from(samples)))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, min(len(data) - 4, draw(st.sampled_from([40, 10_000]))))))
        number = draw(NUMBERS)
        match draw(st.integers(0, 5)):
            case 0:
                data[place : place + 2] = struct.pack("<H", number & 0xFFFF)
            case 1:
                data[place : place + 4] = struct.pack("<I", number)
            case 2:
                data[place : place + 2] = struct.pack(">H", number & 0xFFFF)
            case 3:
                piece = bytes(data[place : place + draw(st.integers(1, 40))])
                data[place:place] = piece
            case 4:
                del data[place : place + draw(st.integers(1, 40))]
            case _:
                data[place] = draw(st.integers(0, 255))
    return bytes(data)


@given(spoiled(WEBPS) | spoiled(JPEGS) | spoiled(GIFS) | spoiled(PNGS))
@settings(max_examples=examples(500))
def test_a_spoiled_image(data: bytes):
    """Whatever is accepted, Pillow decodes to the same size."""
    if (checked := look(data)) is not None:
        assert_decodes(data, checked)


@pytest.mark.parametrize("sample", [*PNGS, *WEBPS, *JPEGS, *GIFS], ids=lambda data: f"{data[:12].hex()}-{len(data)}")
def test_a_file_cut_at_any_place_is_refused(sample: bytes):
    """No length but the whole one passes."""
    assert look(sample) is not None
    assert [] == [length for length in range(len(sample)) if look(sample[:length]) is not None]


def gif_of(width: int, height: int, *, frames: int, disposal: int = 2) -> bytes:
    """Frames that are larger than the screen they are for: each a few bytes."""
    head = b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    control = b"\x21\xf9\x04" + bytes([disposal << 2]) + b"\x05\0\0\0"
    pixels = b"\x02\x02\x4c\x01\0"
    frame = control + b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0) + pixels
    return head + (control + b"\x2c" + struct.pack("<HHHHB", 0, 0, 8, 8, 0) + pixels) + frame * frames + b";"


def scans(count: int) -> bytes:
    """A progressive JPEG that draws its last scan again and again."""
    data = encode("JPEG", size=(100, 100), progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + data[-2:]


def zipped_text(size: int) -> bytes:
    """A PNG whose comment unpacks to that many bytes."""
    chunks = chunks_of(PNGS[0])
    text = b"Comment\0\0" + zlib.compress(b"\0" * size, 9)
    return png_of([chunks[0], (b"zTXt", text), *chunks[1:]])


BOMBS = {
    "gif frames beyond the screen": gif_of(13_000, 13_000, frames=3),
    "gif frames beyond the screen, kept": gif_of(13_000, 13_000, frames=3, disposal=1),
    "gif of many frames": gif_of(8, 8, frames=60_000),
    "png comment": zipped_text(400 * 2**20),
    "png of one color": png_of(
        [
            (b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)),
            (b"IDAT", zlib.compress(b"\0" * 2**20)),
            (b"IEND", b""),
        ]
    ),
    "jpeg of many scans": scans(20_000),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_in_little_memory_and_time(tmp_path: Path, bomb: str):
    """In a process of its own, as a worker is: with warnings that are no errors, and memory that is counted."""
    file = tmp_path / "bomb"
    file.write_bytes(BOMBS[bomb])
    program = """
        import resource, sys, time
        from imagejobs.edges.images import inspect
        from imagejobs.errors import Permanent, Transient
        data = open(sys.argv[1], "rb").read()
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        try:
            inspect(data, max_pixels=1_000_000, decode=True)
            print("accepted")
        except (Permanent, Transient) as error:
            print("refused", type(error).__name__, error)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, time.process_time() - began)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    said, figures = done.stdout.splitlines()
    kilobytes, seconds = figures.split()

    assert said.startswith("refused")
    assert int(kilobytes) < 64 * 1024
    assert float(seconds) < 5
