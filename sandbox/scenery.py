"""The layers of a drawn landscape, each a function that paints on the picture it is given."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from itertools import pairwise

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from sandbox.palettes import Colour, Mood, Palette, blend

RIDGE_STEP_PX = 3  # a ridge is a polygon with a corner every so many pixels
SMOOTHING = 2  # shapes are drawn this many times too large, then reduced: soft edges
GRADIENT_RIM = 178  # Pillow's radial gradient is 0 at the centre and this (or more) at the nearest edge
RAY = Image.linear_gradient("L").resize((1, 64))  # dark above, bright at its foot

Ridge = list[float]  # height above the picture's lower edge at each step, as a share of the picture's height


def column(colours: tuple[Colour, ...], size: tuple[int, int]) -> Image.Image:
    """A vertical gradient through the colours, evenly spaced, in the size asked for."""
    strip = Image.new("RGB", (1, len(colours)))
    strip.putdata(colours)
    rows = strip.resize((1, max(size[1], 2)), Image.Resampling.BICUBIC, box=(0, 0.5, 1, len(colours) - 0.5))
    return rows.resize(size, Image.Resampling.NEAREST)


def stars(picture: Image.Image, palette: Palette, dice: random.Random) -> None:
    """Fainter towards the horizon."""
    width, height = picture.size
    pen = ImageDraw.Draw(picture)
    for _ in range(palette.stars * width * height // 1_000_000):
        x, y = dice.randrange(width), int(height * 0.62 * dice.random() ** 1.4)
        share = dice.random() ** 0.7 * (1 - y / (height * 0.7))
        colour = blend(_at(picture, x, y), palette.light, share)
        pen.point((x, y), fill=colour)
        if share > 0.6:
            pen.point([(x + 1, y), (x, y + 1), (x + 1, y + 1)], fill=colour)


def curtains(picture: Image.Image, palette: Palette, dice: random.Random) -> None:
    """Northern lights: bands of upright rays under a wandering lower edge."""
    veil = Image.new("L", (192, 192))
    for _ in range(palette.curtains):
        base, turn, phase = dice.uniform(60, 105), dice.uniform(0.015, 0.05), dice.uniform(0, math.tau)
        for x in range(192):
            foot = int(base + 16 * math.sin(x * turn + phase) + 5 * math.sin(3.1 * x * turn))
            tall = int(30 + 22 * math.sin(x * turn * 2.3 + phase) + dice.uniform(-9, 9))
            ray = RAY.resize((1, max(4, tall)))
            veil.paste(int(255 * dice.uniform(0.45, 0.8)), (x, foot - ray.height), ray)
    soft = veil.filter(ImageFilter.GaussianBlur(1.2)).resize(picture.size, Image.Resampling.BICUBIC)
    picture.paste(blend(palette.sky[-1], palette.light, 0.2), mask=soft)


def clouds(picture: Image.Image, palette: Palette, dice: random.Random) -> None:
    """Long soft streaks: blurred while small, where a blur costs little."""
    veil = Image.new("L", (192, 192))
    pen = ImageDraw.Draw(veil)
    for _ in range(dice.randrange(3, 8)):
        x, y, reach = dice.uniform(-40, 180), dice.uniform(10, 100), dice.uniform(20, 60)
        for _ in range(7):
            left, rise, wide = x + dice.uniform(-20, 20), y + dice.gauss(0, 2.2), reach * dice.uniform(0.3, 1)
            pen.ellipse((left, rise, left + wide, rise + dice.uniform(1, 4)), fill=dice.randrange(40, 140))
    soft = veil.filter(ImageFilter.GaussianBlur(1.6)).resize(picture.size, Image.Resampling.BICUBIC)
    picture.paste(blend(palette.sky[-1], palette.light, 0.35), mask=soft)


def light(picture: Image.Image, palette: Palette, dice: random.Random, *, horizon: float) -> int:
    """A sun or moon in its glow; says how far from the left it stands, for its reflection."""
    width, height = picture.size
    radius = int(min(width, height) * dice.uniform(0.035, 0.085))
    x = int(width * dice.uniform(0.18, 0.82))
    y = int(height * (1 - horizon) * dice.uniform(0.35, 0.86))
    for reach, strength in ((7, 0.42), (2.6, 0.6)):
        side = int(2 * radius * reach)
        halo = Image.radial_gradient("L").point([int(255 * strength * _falloff(v)) for v in range(256)])
        picture.paste(palette.light, (x - side // 2, y - side // 2), halo.resize((side, side)))
    disc = Image.new("L", (8 * radius, 8 * radius))
    ImageDraw.Draw(disc).ellipse((0, 0, 8 * radius - 1, 8 * radius - 1), fill=255)
    picture.paste(palette.light, (x - radius, y - radius), disc.reduce(4))
    return x


def land(picture: Image.Image, mood: Mood, dice: random.Random, *, horizon: float) -> None:
    """Ranges from far to near, each darker and nearer than the last, with mist in between."""
    layers = dice.randrange(4, 6)
    shape = RIDGES[mood.land]
    for layer in range(layers):
        nearness = layer / (layers - 1)
        base = horizon * (1 - 0.72 * nearness)
        swing = 0.2 * (1 - 0.6 * nearness) if mood.land == "peaks" else 0.045 + 0.025 * nearness
        ridge = [base + swing * rise for rise in shape(picture.width // RIDGE_STEP_PX + 2, dice, 1 + nearness)]
        colour = blend(mood.palette.far, mood.palette.near, nearness**0.85)
        mist = blend(colour, mood.palette.far, 0.55 * (1 - nearness))
        _fill_under(picture, ridge, (blend(colour, mood.palette.light, 0.06), colour, mist))
        if mood.firs and layer >= layers - 2:
            _firs(picture, ridge, blend(colour, mood.palette.near, 0.5), dice, size=0.02 + 0.05 * nearness)


def islands(picture: Image.Image, mood: Mood, dice: random.Random, *, horizon: float) -> None:
    """One or two faint ranges that stand on the horizon."""
    for nearness in (0.15, 0.5)[: dice.randrange(1, 3)]:
        rises = _peaks(picture.width // RIDGE_STEP_PX + 2, dice, 1)
        ridge = [horizon + (0.03 + 0.12 * rise) * (1 - nearness) - 0.02 * nearness for rise in rises]
        colour = blend(mood.palette.far, mood.palette.near, nearness)
        _fill_under(picture, ridge, (colour, blend(colour, mood.palette.far, 0.5)))


def sea(picture: Image.Image, mood: Mood, dice: random.Random, *, horizon: float) -> None:
    """Water that mirrors what is already painted above the horizon, broken by ripples that widen towards us."""
    width, height = picture.size
    shore = int(height * (1 - horizon))
    depth = height - shore
    above = picture.crop((0, max(0, shore - depth), width, shore))
    mirror = above.transpose(Image.Transpose.FLIP_TOP_BOTTOM).resize((width, depth))
    water = column((blend(mood.palette.far, mood.palette.light, 0.25), mood.palette.near), (width, depth))
    mirror = Image.blend(mirror, water, 0.42)
    y = 0
    while y < depth:
        near = y / depth
        thick = max(1, int(1 + 7 * near * dice.random()))
        shift = int(dice.gauss(0, 1) * (1 + 14 * near))
        strip = ImageChops.offset(mirror.crop((0, y, width, min(depth, y + thick))), shift, 0)
        picture.paste(strip, (0, shore + y))
        y += thick


def glitter(picture: Image.Image, palette: Palette, dice: random.Random, *, x: int, horizon: float) -> None:
    """The light's path on the water: short strokes, wider and sparser towards us."""
    width, height = picture.size
    shore = int(height * (1 - horizon))
    pen = ImageDraw.Draw(picture)
    for _ in range(height // 6):
        near = dice.random() ** 1.5
        y = min(height - 1, shore + 1 + int((height - shore) * near))
        half = width * (0.006 + 0.03 * near * dice.random())
        centre = x + dice.gauss(0, 1) * width * (0.01 + 0.03 * near)
        colour = blend(_at(picture, min(max(int(centre), 0), width - 1), y), palette.light, 0.25 + 0.5 * dice.random())
        pen.line((centre - half, y, centre + half, y), fill=colour, width=1 + int(height / 400 * near))


def boat(picture: Image.Image, palette: Palette, dice: random.Random, *, horizon: float) -> None:
    """One small sail, near enough to be seen."""
    width, height = picture.size
    size = height * dice.uniform(0.03, 0.06)
    x, y = width * dice.uniform(0.15, 0.85), height * (1 - horizon) + size * dice.uniform(0.3, 1.6)
    pen = ImageDraw.Draw(picture)
    hull = [(x - size, y - 0.28 * size), (x + size, y - 0.28 * size), (x + 0.7 * size, y), (x - 0.7 * size, y)]
    pen.polygon(hull, fill=palette.near)
    mast, foot = y - 2.3 * size, y - 0.36 * size
    pen.polygon([(x + 0.06 * size, mast), (x + 0.95 * size, foot), (x + 0.06 * size, foot)], fill=palette.light)
    jib = blend(palette.light, palette.far, 0.35)
    pen.polygon([(x - 0.06 * size, mast + 0.3 * size), (x - 0.8 * size, foot), (x - 0.06 * size, foot)], fill=jib)


def birds(picture: Image.Image, palette: Palette, dice: random.Random) -> None:
    """A small flock, as strokes of two wings."""
    width, height = picture.size
    pen = ImageDraw.Draw(picture)
    x, y = width * dice.uniform(0.15, 0.8), height * dice.uniform(0.14, 0.4)
    for _ in range(dice.randrange(3, 9)):
        span = width * dice.uniform(0.008, 0.018)
        at_x, at_y = x + dice.gauss(0, width * 0.05), y + dice.gauss(0, height * 0.03)
        lift = span * dice.uniform(0.3, 0.7)
        wings = [(at_x - span, at_y - lift), (at_x, at_y), (at_x + span, at_y - lift)]
        pen.line(wings, fill=blend(palette.near, palette.far, 0.25), width=max(1, width // 420), joint="curve")


def _fill_under(picture: Image.Image, ridge: Ridge, colours: tuple[Colour, ...]) -> None:
    width, height = picture.size
    top = max(0, int(height * (1 - max(ridge))) - 2)
    if top >= height:
        return
    span, scale = height - top, SMOOTHING
    shape = Image.new("L", (width * scale, span * scale))
    corners = [(i * RIDGE_STEP_PX * scale, (height * (1 - rise) - top) * scale) for i, rise in enumerate(ridge)]
    end_x = corners[-1][0]
    ImageDraw.Draw(shape).polygon([*corners, (end_x, span * scale), (0, span * scale)], fill=255)
    picture.paste(column(colours, (width, span)), (0, top), shape.reduce(scale))


def _firs(picture: Image.Image, ridge: Ridge, colour: Colour, dice: random.Random, *, size: float) -> None:
    height = picture.height
    pen = ImageDraw.Draw(picture)
    for _ in range(int(26 + 60 * dice.random())):
        step = dice.randrange(len(ridge))
        x, foot = step * RIDGE_STEP_PX, height * (1 - ridge[step]) + 2
        tall = height * size * dice.uniform(0.55, 1.25)
        for tier in range(3):
            tip, wide = foot - tall * (1 - 0.24 * tier), tall * (0.1 + 0.07 * tier)
            base = tip + tall * 0.44
            pen.polygon([(x, tip), (x - wide, base), (x + wide, base)], fill=colour)
        pen.line((x, foot - tall * 0.2, x, foot + tall * 0.1), fill=colour, width=max(1, int(tall * 0.06)))


def _hills(steps: int, dice: random.Random, roughness: float) -> Ridge:
    waves = [(2.0**k, dice.uniform(0, math.tau), 0.52**k) for k in range(4)]
    turn = math.tau * dice.uniform(0.5, 0.9) * roughness / steps
    return [sum(size * math.sin(i * turn * speed + phase) for speed, phase, size in waves) for i in range(steps)]


def _dunes(steps: int, dice: random.Random, roughness: float) -> Ridge:
    waves = [(2.3**k, dice.uniform(0, math.tau), 0.4**k) for k in range(3)]
    turn = math.pi * dice.uniform(0.6, 1.1) * roughness / steps
    return [sum(size * (1 - 2 * abs(math.sin(i * turn * s + p)) ** 0.8) for s, p, size in waves) for i in range(steps)]


def _peaks(steps: int, dice: random.Random, roughness: float) -> Ridge:
    points, swing = [dice.uniform(-0.6, 0.6) for _ in range(4)], 0.55
    while len(points) < steps:
        middles = [(a + b) / 2 + dice.uniform(-swing, swing) for a, b in pairwise(points)]
        points = [rise for pair in zip(points, middles, strict=False) for rise in pair] + points[-1:]
        swing *= 0.5 + 0.02 * roughness
    return points[:steps]


RIDGES: dict[str, Callable[[int, random.Random, float], Ridge]] = {
    "hills": _hills,
    "dunes": _dunes,
    "peaks": _peaks,
}


def _falloff(distance: int) -> float:
    return max(0.0, 1 - distance / GRADIENT_RIM) ** 2


def _at(picture: Image.Image, x: int, y: int) -> Colour:
    red, green, blue = picture.getpixel((x, y))  # type: ignore[misc]  # an RGB picture has three bands
    return int(red), int(green), int(blue)
