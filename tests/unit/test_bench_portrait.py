"""The README's picture shows what was measured, and nothing that was not."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from ops.bench.book import Book, Figures
from ops.bench.plot import COLOURS
from ops.bench.portrait import LENGTH, lines_of, portrait

OURS = "imagejobs-sqlite-2"
S2: Figures = {"allowance_used": 0.9, "creates_accepted": 400, "images": 400}


def book_of(*measured: tuple[str, str, Figures]) -> Book:
    book = Book(made_at="2026-11-24 20:00 UTC", machine={}, versions={})
    book.scenarios = {"S2": {"jobs": 400}, "S3": {"jobs": 100}}
    book.runs = [
        {"scenario": scenario, "contestant": contestant, "play": "a", "round": 0, "figures": figures}
        for scenario, contestant, figures in measured
    ]
    return book


def blocks(picture: str, colour: str) -> list[float]:
    rectangles = ElementTree.fromstring(picture).findall("{*}rect")  # noqa: S314 - our own picture
    return [float(one.get("width", "")) for one in rectangles if one.get("class") == colour and one.get("rx") == "2"]


def test_who_was_not_measured_in_both_is_not_shown() -> None:
    """And nobody is a picture that is not drawn."""
    both = [(scenario, OURS, figures) for scenario, figures in (("S2", S2), ("S3", {"lost": 0, "paid_twice": 0}))]

    assert [OURS] == [line.name for line in lines_of(book_of(*both, ("S2", "arq", S2)))]
    assert None is portrait(book_of(("S2", "arq", S2), ("S3", "taskiq", {"lost": 0, "paid_twice": 0})))


def test_what_is_lost_and_what_is_paid_for_again_count_against() -> None:
    """Safe images, of those asked for and those paid for beyond them; and of the creates, what became an image."""
    (line,) = lines_of(
        book_of(("S2", "arq", {**S2, "creates_accepted": 500}), ("S3", "arq", {"lost": 10, "paid_twice": 50}))
    )

    assert (0.9 * 400 / 500, 90 / 150) == (line.used, line.kept)


def test_parts_are_as_long_as_their_shares() -> None:
    """The whole is what was asked for and what was paid for beyond it."""
    drawn = portrait(book_of(("S2", "arq", S2), ("S3", "arq", {"lost": 10, "paid_twice": 50})))

    assert drawn is not None
    assert [0.9 * LENGTH, 0.6 * LENGTH] == pytest.approx([one for one in blocks(drawn, "theirs") if one > 12], abs=0.1)
    assert LENGTH * 10 / 150 == pytest.approx(max(blocks(drawn, "bad")), abs=0.1)
    assert LENGTH * 50 / 150 == pytest.approx(max(blocks(drawn, "poor")), abs=0.1)


def test_a_picture_can_be_read_in_the_dark() -> None:
    """Every colour has its dark one, chosen by the reader's system."""
    drawn = portrait(book_of(("S2", OURS, S2), ("S3", OURS, {"lost": 0, "paid_twice": 0})))

    assert drawn is not None
    assert [] == [name for name, (_, dark) in COLOURS.items() if f".{name}{{fill:{dark}}}" not in drawn]
    assert "@media (prefers-color-scheme: dark)" in drawn
