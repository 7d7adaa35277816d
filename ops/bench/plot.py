"""Bars as SVG, written by hand: a picture that a repository can show needs no library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, LABEL, VALUE, BAR, GAP, TOP = 860, 250, 90, 18, 8, 44  # pixels
OURS, THEIRS, INK, PAPER = "#2f6f4f", "#9aa7b1", "#24292f", "#ffffff"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One contestant's figure."""

    label: str
    value: float
    is_ours: bool = False


def bars(title: str, shown: Sequence[Bar], *, digits: int = 3) -> str:
    """One horizontal bar each, from 0, in the order given; the longest fills the width."""
    height = TOP + len(shown) * (BAR + GAP) + GAP
    longest = max((bar.value for bar in shown), default=0.0) or 1.0
    root = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'role="img" font-family="sans-serif" font-size="13" fill="{INK}">'
    )
    lines = [
        root,
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="{PAPER}"/>',
        f'<text x="{GAP}" y="26" font-size="15" font-weight="bold">{escape(title)}</text>',
    ]
    for number, bar in enumerate(shown):
        lines += _drawn(bar, TOP + number * (BAR + GAP), longest=longest, digits=digits)
    return "\n".join([*lines, "</svg>", ""])


def _drawn(bar: Bar, top: int, *, longest: float, digits: int) -> list[str]:
    length = max(1.0, bar.value / longest * (WIDTH - LABEL - VALUE - GAP))
    line = top + BAR - 5
    return [
        f'<text x="{LABEL - GAP}" y="{line}" text-anchor="end">{escape(bar.label)}</text>',
        f'<rect x="{LABEL}" y="{top}" width="{length:.1f}" height="{BAR}" fill="{OURS if bar.is_ours else THEIRS}"/>',
        f'<text x="{LABEL + length + GAP:.1f}" y="{line}">{bar.value:.{digits}g}</text>',
    ]
