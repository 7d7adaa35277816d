"""Bars as SVG, written by hand: a picture that a repository can show needs no library.

Each picture brings its own ground, and both a light and a dark set of colours: the reader's system chooses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, LABEL, VALUE, BAR, GAP, TOP = 860, 250, 90, 18, 8, 48  # pixels

# By what is shown: the light colour, the dark one. They differ in lightness too, for who does not tell red from green.
COLOURS = {
    "paper": ("#ffffff", "#161b22"),
    "ink": ("#1f2933", "#e6edf3"),
    "faint": ("#66737f", "#9aa7b4"),
    "track": ("#eceff2", "#2a323c"),
    "ours": ("#0e7c66", "#2fc4a2"),
    "theirs": ("#93a1ae", "#7f8e9c"),
    "bad": ("#c2372e", "#f0675d"),
    "poor": ("#e2a336", "#f2be5c"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One contestant's figure."""

    label: str
    value: float
    is_ours: bool = False


def bars(title: str, shown: Sequence[Bar], *, digits: int = 3) -> str:
    """One horizontal bar each, from 0, in the order given; the longest fills the width."""
    longest = max((bar.value for bar in shown), default=0.0) or 1.0
    lines = [text(GAP, 28, title, size=15, is_bold=True)]
    for number, bar in enumerate(shown):
        lines += _drawn(bar, TOP + number * (BAR + GAP), longest=longest, digits=digits)
    return picture(title, lines, width=WIDTH, height=TOP + len(shown) * (BAR + GAP) + GAP)


def _drawn(bar: Bar, top: int, *, longest: float, digits: int) -> list[str]:
    length = max(1.0, bar.value / longest * (WIDTH - LABEL - VALUE - GAP))
    line = top + BAR - 5
    return [
        text(LABEL - GAP, line, bar.label, anchor="end", is_bold=bar.is_ours),
        block(LABEL, top, length, BAR, "ours" if bar.is_ours else "theirs"),
        text(LABEL + length + GAP, line, f"{bar.value:.{digits}g}"),
    ]


def picture(title: str, lines: Iterable[str], *, width: int, height: int) -> str:
    """A whole SVG, on a ground of its own."""
    root = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" font-size="13">'
    )
    dark = "".join(f".{name}{{fill:{colour}}}" for name, (_, colour) in COLOURS.items())
    style = f"<style>@media (prefers-color-scheme: dark){{{dark}}}</style>"
    ground = block(0, 0, width, height, "paper", round_px=8)
    return "\n".join([root, f"<title>{escape(title)}</title>", style, ground, *lines, "</svg>", ""])


def block(left: float, top: float, width: float, height: float, colour: str, *, round_px: int = 2) -> str:
    """A filled rectangle."""
    place = f'x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{round_px}"'
    return f"<rect {place} {_filled(colour)}/>"


def text(
    left: float,
    line: float,
    words: str,
    *,
    colour: str = "ink",
    anchor: str = "start",
    size: int = 13,
    is_bold: bool = False,
) -> str:
    """One line of words, `line` being its foot."""
    weight = ' font-weight="600"' if is_bold else ""
    place = f'x="{left:.1f}" y="{line:.1f}" text-anchor="{anchor}" font-size="{size}"'
    return f"<text {place}{weight} {_filled(colour)}>{escape(words)}</text>"


def _filled(colour: str) -> str:
    return f'class="{colour}" fill="{COLOURS[colour][0]}"'
