"""Which colours and which land a prompt asks for: words it holds decide, and its hash where they say nothing."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

Colour = tuple[int, int, int]

LANDS = ("hills", "peaks", "dunes", "sea")


@dataclass(frozen=True, slots=True, kw_only=True)
class Palette:
    """Colours of one mood. `sky` runs from the zenith to the horizon; `stars` is a count for one megapixel."""

    sky: tuple[Colour, ...]
    far: Colour
    near: Colour
    light: Colour
    stars: int = 0
    curtains: int = 0  # of northern lights


@dataclass(frozen=True, slots=True, kw_only=True)
class Mood:
    """What every picture of one prompt shares, whatever its seed."""

    palette: Palette
    land: str
    firs: bool


PALETTES = {
    "dusk": Palette(
        sky=((38, 28, 84), (120, 52, 122), (226, 96, 106), (255, 186, 120)),
        far=(196, 104, 128),
        near=(26, 16, 48),
        light=(255, 226, 170),
        stars=250,
    ),
    "dawn": Palette(
        sky=((74, 132, 190), (150, 188, 214), (250, 210, 190), (255, 236, 206)),
        far=(176, 180, 204),
        near=(36, 54, 82),
        light=(255, 250, 224),
    ),
    "night": Palette(
        sky=((4, 8, 28), (10, 22, 58), (26, 50, 98), (66, 98, 142)),
        far=(46, 72, 116),
        near=(3, 8, 22),
        light=(240, 244, 255),
        stars=2500,
    ),
    "mars": Palette(
        sky=((54, 22, 30), (130, 54, 40), (206, 112, 66), (244, 184, 122)),
        far=(204, 118, 80),
        near=(52, 18, 20),
        light=(255, 240, 214),
        stars=160,
    ),
    "jade": Palette(
        sky=((8, 60, 74), (32, 122, 124), (132, 192, 162), (240, 236, 190)),
        far=(120, 172, 156),
        near=(8, 34, 40),
        light=(255, 250, 214),
    ),
    "aurora": Palette(
        sky=((6, 10, 34), (12, 26, 62), (20, 66, 86), (70, 160, 140)),
        far=(34, 86, 104),
        near=(4, 12, 26),
        light=(222, 255, 236),
        stars=500,
        curtains=2,
    ),
    "rose": Palette(
        sky=((92, 78, 140), (176, 124, 172), (244, 176, 184), (255, 226, 208)),
        far=(196, 152, 186),
        near=(56, 38, 78),
        light=(255, 244, 230),
    ),
    "ember": Palette(
        sky=((26, 14, 34), (94, 26, 48), (204, 68, 44), (255, 170, 66)),
        far=(176, 66, 56),
        near=(20, 8, 18),
        light=(255, 222, 132),
        stars=200,
    ),
}

PALETTE_WORDS = {
    "mars": "mars desert canyon rust copper",
    "night": "night midnight moon stars space astronaut cosmos galaxy",
    "aurora": "aurora northern winter ice arctic neon",
    "dawn": "dawn morning noon day summer sky",
    "dusk": "dusk evening sunset twilight dramatic",
    "jade": "forest jungle green jade spring garden meadow",
    "rose": "rose pink flower blossom cherry pastel",
    "ember": "fire ember lava autumn dragon gold",
}
LAND_WORDS = {
    "sea": "sea ocean lake river island ship boat harbour harbor beach whale coast",
    "dunes": "desert dune dunes mars sand camel",
    "peaks": "mountain mountains alps peak snow winter castle dragon",
    "hills": "hill hills valley village meadow forest garden",
}
FIR_WORDS = frozenset(["bear", "cabin", "forest", "fox", "tree", "trees", "winter", "wolf", "wood", "woods"])


def mood_of(prompt: str) -> Mood:
    """The same prompt always gives the same mood, so that a batch of seeds reads as one series."""
    words = set(re.findall(r"\w+", prompt.lower()))
    dice = random.Random(f"mood:{prompt}")
    palette = _asked_for(PALETTE_WORDS, words) or dice.choice(sorted(PALETTES))
    land = _asked_for(LAND_WORDS, words) or dice.choice(LANDS)
    firs = bool(words & FIR_WORDS) or (land in ("hills", "peaks") and dice.random() < 0.3)
    return Mood(palette=PALETTES[palette], land=land, firs=firs)


def _asked_for(vocabulary: dict[str, str], words: set[str]) -> str | None:
    return next((name for name, known in vocabulary.items() if words & set(known.split())), None)


def blend(one: Colour, other: Colour, share: float) -> Colour:
    """`one` at share 0, `other` at share 1."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue
