"""Draws the picture that a prompt and a seed stand for: the same request gives the same pixels, always.

A demo worth looking at and a proof in one: two different requests give different bytes, so a picture
that was stored twice, swapped or lost shows.
"""

from __future__ import annotations

import io
import random
from dataclasses import dataclass

from PIL import Image, ImageDraw

from sandbox import scenery
from sandbox.palettes import blend, mood_of

MEDIA_TYPES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Everything that decides a picture. `style` is `landscape` or `dots`; sizes are pixels."""

    style: str
    prompt: str
    negative_prompt: str
    seed: int
    index: int
    width: int
    height: int
    dots: int = 0


def draw(subject: Subject) -> Image.Image:
    """A new RGB picture of the subject's size; takes some tens of milliseconds, so call it in a thread."""
    key = (subject.prompt, subject.negative_prompt, subject.seed, subject.index)
    dice = random.Random(repr(key))
    paint = {"landscape": _landscape, "dots": _dots}[subject.style]
    return paint(subject, dice)


def _landscape(subject: Subject, dice: random.Random) -> Image.Image:
    mood = mood_of(subject.prompt)
    palette = mood.palette
    horizon = dice.uniform(0.36, 0.5) if mood.land == "sea" else dice.uniform(0.32, 0.46)
    picture = scenery.column((*palette.sky, palette.sky[-1], palette.far), (subject.width, subject.height))
    scenery.stars(picture, palette, dice)
    scenery.curtains(picture, palette, dice)
    scenery.clouds(picture, palette, dice)
    light_x = scenery.light(picture, palette, dice, horizon=horizon)
    if mood.land == "sea":
        scenery.islands(picture, mood, dice, horizon=horizon)
        scenery.sea(picture, mood, dice, horizon=horizon)
        scenery.glitter(picture, palette, dice, x=light_x, horizon=horizon)
        scenery.boat(picture, palette, dice, horizon=horizon)
    else:
        scenery.land(picture, mood, dice, horizon=horizon)
    if dice.random() < 0.6:
        scenery.birds(picture, palette, dice)
    return picture


def _dots(subject: Subject, dice: random.Random) -> Image.Image:
    palette = mood_of(subject.prompt).palette
    width, height = subject.width, subject.height
    picture = scenery.column((palette.near, blend(palette.near, palette.far, 0.4)), (width * 2, height * 2))
    pen = ImageDraw.Draw(picture)
    for _ in range(subject.dots):
        x, y = dice.uniform(0, width * 2), dice.uniform(0, height * 2)
        radius = min(width, height) * 0.12 * dice.random() ** 2 + 2
        colour = blend(dice.choice(palette.sky), palette.light, dice.random())
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return picture.reduce(2)


def encode(picture: Image.Image, image_format: str) -> bytes:
    """The picture as png, jpg or webp: quick rather than small, for it lives an hour."""
    out = io.BytesIO()
    if image_format == "png":
        picture.save(out, "PNG", compress_level=1)
    elif image_format == "jpg":
        picture.save(out, "JPEG", quality=88)
    else:
        picture.save(out, "WEBP", quality=88, method=1)
    return out.getvalue()
