"""Intact images pass, with the right facts; whatever else a download may bring does not."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from imagejobs.edges.images import Checked, inspect
from imagejobs.errors import Cause, Permanent, Transient

LIMIT = 10_000


def encode(kind: str, *, size: tuple[int, int] = (64, 48), frames: int = 1, **options: Any) -> bytes:
    """A picture with something in it, so that its data is not all alike."""
    pictures = [Image.effect_mandelbrot(size, (-2, -1.5, 1, 1.5), 50 + 10 * n).convert("RGB") for n in range(frames)]
    more = {"save_all": True, "append_images": pictures[1:]} if frames > 1 else {}
    file = io.BytesIO()
    pictures[0].save(file, format=kind, **more, **options)
    return file.getvalue()


SAMPLES = {
    "png": encode("PNG"),
    "jpeg": encode("JPEG"),
    "progressive jpeg": encode("JPEG", progressive=True),
    "webp": encode("WEBP"),
    "lossless webp": encode("WEBP", lossless=True),
    "animated webp": encode("WEBP", frames=3),
    "gif": encode("GIF"),
    "animated gif": encode("GIF", frames=3),
    "animated png": encode("PNG", frames=3),
}
CONTENT_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp", "gif": "image/gif"}
EXTENSIONS = {"png": "png", "jpeg": "jpg", "webp": "webp", "gif": "gif"}


@pytest.mark.parametrize("decode", [False, True])
@pytest.mark.parametrize("sample", SAMPLES)
def test_an_intact_image_has_its_facts(sample: str, decode: bool) -> None:
    """By its bytes: what the server called it does not count."""
    kind = sample.rpartition(" ")[2]
    expected = Checked(content_type=CONTENT_TYPES[kind], extension=EXTENSIONS[kind], width=64, height=48)

    assert expected == inspect(SAMPLES[sample], max_pixels=LIMIT, decode=decode)


def refusal(data: bytes, **options: Any) -> str:
    with pytest.raises(Transient) as error:
        inspect(data, max_pixels=LIMIT, **options)
    assert error.value.cause is Cause.DOWNLOAD
    return str(error.value)


@pytest.mark.parametrize("sample", SAMPLES)
def test_an_image_cut_anywhere_is_refused(sample: str) -> None:
    """At every length, down to the last byte missing."""
    data = SAMPLES[sample]

    assert all(
        refusal(data[:length])
        for length in {*range(40), *range(40, len(data) - 40, 7), *range(len(data) - 40, len(data))}
    )


@given(st.integers(min_value=8, max_value=len(SAMPLES["png"]) - 1), st.integers(min_value=1, max_value=255))
def test_one_wrong_byte_in_a_png_is_seen(place: int, difference: int) -> None:
    """Wherever it is: each chunk has a checksum."""
    data = bytearray(SAMPLES["png"])
    data[place] ^= difference
    with pytest.raises((Transient, Permanent)):
        inspect(bytes(data), max_pixels=LIMIT)


@given(st.sampled_from(sorted(SAMPLES)), st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=6))
def test_damage_never_surprises(sample: str, changes: list[tuple[int, int]]) -> None:
    """Whatever is damaged, the result is a fact, a Transient or a Permanent."""
    data = bytearray(SAMPLES[sample])
    for place, value in changes:
        data[place % len(data)] = value
    for decode in (False, True):
        try:
            assert isinstance(inspect(bytes(data), max_pixels=LIMIT, decode=decode), Checked)
        except (Transient, Permanent) as error:
            assert error.cause is Cause.DOWNLOAD  # noqa: PT017 - any of the three will do


@given(
    st.binary(max_size=60),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF\0\0\0\0WEBP"]),
)
def test_noise_is_no_image(noise: bytes, begin: bytes) -> None:
    """Also behind a right beginning."""
    with pytest.raises((Transient, Permanent)):
        inspect(begin + noise, max_pixels=LIMIT)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            b"<!DOCTYPE html><title>Just a moment</title>",
            "not an image: text/html: <!DOCTYPE html><title>Just a moment",
        ),
        (b"\n <html>gone", "not an image: text/html: <html>gone"),
        (
            b'<?xml version="1.0"?><Error><Code>NoSuchKey',
            'not an image: XML: <?xml version="1.0"?><Error><Code>NoSuchKey',
        ),
        (b'{"detail": "gone"}', 'not an image: JSON: {"detail": "gone"}'),
        (b"", "not an image: nothing at all"),
        (b"BM\x00\x01", "not an image: 4 bytes that begin with 42 4d 00 01"),
    ],
)
def test_what_came_instead_is_said(data: bytes, expected: str) -> None:
    """An error page with a 200 is best told from its own words."""
    assert refusal(data).startswith(expected)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of(width: int, height: int) -> bytes:
    """Right in every checksum, and with hardly any data."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def gif_of(width: int, height: int) -> bytes:
    data = SAMPLES["gif"]
    return data[:6] + struct.pack("<HH", width, height) + data[10:]


def webp_of(width: int, height: int) -> bytes:
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    data = SAMPLES["animated webp"]
    return data[:24] + size + data[30:]


BOMBS = {
    "png": png_of(60_000, 60_000),
    "gif": gif_of(60_000, 60_000),
    "webp": webp_of(16_000, 16_000),
    "large jpeg": encode("JPEG", size=(200, 100)),
    "large webp": encode("WEBP", size=(200, 100)),
    "large lossless webp": encode("WEBP", size=(200, 100), lossless=True),
    "many frames": encode("GIF", frames=4),
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("filters", ["error", "ignore"])
def test_too_many_pixels_are_refused_for_good(bomb: str, filters: Any) -> None:
    """Before they are made, and without a warning on the way."""
    with warnings.catch_warnings():
        warnings.simplefilter(filters)
        with pytest.raises(Permanent) as error:
            inspect(BOMBS[bomb], max_pixels=LIMIT)

    assert error.value.cause is Cause.DOWNLOAD


def test_a_limit_above_pillows_own_holds() -> None:
    """Its global limit, which warns, has no say."""
    with pytest.raises(Transient):
        inspect(gif_of(10_000, 10_000)[:-1], max_pixels=200_000_000)


def test_a_png_without_pixels_is_refused() -> None:
    """Every checksum right, and nothing in it."""
    data = SAMPLES["png"]

    assert "no pixels" in refusal(data[:33] + chunk(b"IEND", b""))


def test_decoding_sees_what_checksums_cannot() -> None:
    """A PNG whose maker stopped half way, and signed it."""
    assert inspect(png_of(10, 10), max_pixels=LIMIT).width == 10
    assert refusal(png_of(10, 10), decode=True)


def test_threads_do_not_meet() -> None:
    """Eight at once, each its own format."""
    samples = list(SAMPLES.values()) * 20
    with ThreadPoolExecutor(8) as threads:
        widths = list(threads.map(lambda data: inspect(data, max_pixels=LIMIT).width, samples))

    assert [64] * len(samples) == widths


def test_a_jpeg_of_endless_scans_is_refused_for_good() -> None:
    """Each goes over all pixels anew, and takes but a few bytes: a small file could keep a processor busy for hours."""
    data = SAMPLES["progressive jpeg"]
    last = data.rindex(b"\xff\xda")
    with pytest.raises(Permanent, match="scans"):
        inspect(data[:last] + data[last:-2] * 200 + data[-2:], max_pixels=LIMIT)
