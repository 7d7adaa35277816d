"""The stand-in provider's pictures are real, and the same request always gives the same one."""

from __future__ import annotations

import io
import warnings
from dataclasses import replace

import pytest
from PIL import Image

from sandbox.containers import bomb, corrupted, with_comment
from sandbox.drawing import Subject, draw, encode
from sandbox.palettes import LANDS, PALETTES, mood_of

HILLS = Subject(style="landscape", prompt="green hills", negative_prompt="", seed=7, index=0, width=256, height=128)


def pixels(subject: Subject) -> bytes:
    return draw(subject).tobytes()


def test_the_same_subject_gives_the_same_pixels() -> None:
    """Drawing has no hidden state."""
    assert pixels(HILLS) == pixels(HILLS)


@pytest.mark.parametrize("change", [{"prompt": "a sea"}, {"negative_prompt": "trees"}, {"seed": 8}, {"index": 1}])
def test_any_other_subject_gives_another_picture(change: dict[str, object]) -> None:
    """A swapped or doubled picture can be told."""
    assert pixels(HILLS) != pixels(replace(HILLS, **change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "prompt", ["a ship at sea", "mars", "winter mountains", "foggy forest", "aurora", "城市", "", "a\nb"]
)
def test_every_prompt_has_a_picture_of_the_size_asked_for(prompt: str) -> None:
    """Also at the smallest and the longest sizes a model allows."""
    sizes = [(128, 128), (1024, 128), (128, 1024)]
    drawn = [draw(replace(HILLS, prompt=prompt, width=width, height=height)) for width, height in sizes]

    assert [(size, "RGB") for size in sizes] == [(picture.size, picture.mode) for picture in drawn]


def test_words_decide_the_mood() -> None:
    """A prompt about Mars is drawn as Mars, whatever the seed."""
    mood = mood_of("an astronaut riding a horse on mars, hd, dramatic lighting")

    assert (PALETTES["mars"], "dunes") == (mood.palette, mood.land)
    assert mood_of("no known word at all").land in LANDS


@pytest.mark.parametrize("image_format", ["png", "jpg", "webp"])
def test_a_comment_changes_bytes_but_no_pixel(image_format: str) -> None:
    """Each format still opens, strictly decoded."""
    plain = encode(draw(HILLS), image_format)
    noted = with_comment(plain, '{"prompt": "grüne Hügel"}')

    assert plain != noted
    assert Image.open(io.BytesIO(plain)).tobytes() == Image.open(io.BytesIO(noted)).tobytes()


def test_a_corrupted_picture_keeps_its_length_and_loses_its_checksum() -> None:
    """So only a reader that looks at the bytes can know."""
    whole = encode(draw(HILLS), "png")
    spoiled = corrupted(whole)

    assert len(whole) == len(spoiled)
    with pytest.raises(SyntaxError, match="broken PNG"):
        Image.open(io.BytesIO(spoiled)).verify()


def test_a_bomb_is_tiny_and_claims_to_be_enormous() -> None:
    """It opens as a PNG: only its claimed size gives it away."""
    data = bomb(60_000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with pytest.raises(Image.DecompressionBombError):
            Image.open(io.BytesIO(data))

    assert len(data) < 200
