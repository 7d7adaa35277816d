"""The benchmarks' page and plots say what was measured, and the sink's eye for pictures can be trusted."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ops.bench import book as bookkeeping
from ops.bench import facts, page
from ops.bench.book import Book, Figures, opened
from ops.bench.contestants import CONTESTANTS
from ops.bench.plot import Bar, bars
from ops.bench.pngs import is_intact, prompt_of
from ops.bench.scenarios import S1, SCENARIOS
from ops.bench.table import MAIN, programme_of
from ops.bench.tournament import Programme
from sandbox.containers import corrupted, with_comment
from sandbox.drawing import Subject, draw, encode

OURS = "imagejobs-sqlite-2"


def book_of(**runs: list[Figures | None]) -> Book:
    book = Book(made_at="2026-11-24 20:00 UTC", machine={"cores": 2}, versions={"commit": "abc"})
    book.scenarios = {"S1": {"title": S1.title, "jobs": 300}}
    book.contestants = {name: f"about {name}" for name in ("asyncio", OURS)}
    book.runs = [
        {
            "scenario": "S1",
            "contestant": {"ours": OURS}.get(name, name),
            "play": "this one",
            "round": number,
            "figures": figures,
            "error": None if figures else "it fell over",
        }
        for name, rounds in runs.items()
        for number, figures in enumerate(rounds)
    ]
    return book


def rectangles(picture: str) -> list[ElementTree.Element]:
    return ElementTree.fromstring(picture).findall("{*}rect")  # noqa: S314 - our own picture


def test_ratios_are_to_the_yardstick_of_the_same_round() -> None:
    """A machine that was slow for one round was so for both."""
    book = book_of(
        asyncio=[{"cpu_ms_per_image": 2.0}, {"cpu_ms_per_image": 20.0}, {"cpu_ms_per_image": 4.0}],
        ours=[{"cpu_ms_per_image": 3.0}, {"cpu_ms_per_image": 30.0}, {"cpu_ms_per_image": 6.0}],
    )

    row = page.table_of(book, "S1")[OURS]

    assert (6.0, 1.5, 3) == (row["cpu_ms_per_image"], row["cpu_to_asyncio"], row["runs"])


def test_a_failed_round_is_said_and_is_in_no_median(tmp_path: Path) -> None:
    """It is left out with its yardstick's round, and its name stands on the page."""
    book = book_of(
        asyncio=[{"cpu_ms_per_image": 2.0}, {"cpu_ms_per_image": 2.0}], ours=[None, {"cpu_ms_per_image": 3.0}]
    )

    written = page.write(book, tmp_path).read_text(encoding="utf-8")

    assert 1 == page.table_of(book, "S1")[OURS]["runs"]
    assert f"{OURS} failed in round 1." in written
    assert f"| about {OURS} | 3 | 1.5 | 1 |" in written


@pytest.mark.parametrize(("share", "is_busy"), [(0.02, False), (0.5, True)])
def test_a_busy_machine_is_said(share: float, is_busy: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the figures that it may have spoilt."""
    monkeypatch.setattr(bookkeeping, "busy_share", lambda: share)
    book = book_of(ours=[{"cpu_ms_per_image": 3.0}])
    book.sign("S1")

    assert is_busy == ("busy" in page.write(book, tmp_path).read_text(encoding="utf-8").partition("## S1")[2])


def test_what_the_machine_does_is_seen() -> None:
    """A process that only spins."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as spinning:
        try:
            share = facts.busy_share(0.5)
        finally:
            spinning.kill()

    assert 0.5 / (os.cpu_count() or 1) < share <= 1


def test_every_plot_of_the_page_is_there(tmp_path: Path) -> None:
    """As an image that an XML parser reads, with a bar each."""
    book = book_of(
        asyncio=[{"cpu_ms_per_image": 2.0, "images_per_second": 9.0}],
        ours=[{"cpu_ms_per_image": 3.0, "images_per_second": 8.0}],
    )

    written = page.write(book, tmp_path).read_text(encoding="utf-8")
    plots = sorted((tmp_path / "benchmarks").iterdir())

    assert ["s1-cpu-ms-per-image.svg", "s1-images-per-second.svg"] == [plot.name for plot in plots]
    assert all(f"](benchmarks/{plot.name})" in written for plot in plots)
    assert [3, 3] == [len(rectangles(plot.read_text())) for plot in plots]  # two bars on a ground


def test_bars_are_as_long_as_their_values() -> None:
    """From 0, so that the eye is told the truth; and a name may hold any character."""
    picture = bars("a & b", [Bar(label="<half>", value=2.0), Bar(label="whole", value=4.0)])
    _, half, whole = (float(rect.get("width", "")) for rect in rectangles(picture))

    assert pytest.approx(0.5, abs=0.001) == half / whole


def test_a_book_is_read_as_it_was_written(tmp_path: Path) -> None:
    """The page can be made again from the JSON alone."""
    book = book_of(ours=[{"cpu_ms_per_image": 3.0, "allowance_used": None}])
    book.write(tmp_path / "results.json")

    assert book == Book.read(tmp_path / "results.json")


def test_measurements_add_to_what_is_there(tmp_path: Path) -> None:
    """Each keeps its own figures, the second time in place of the first; nobody's are lost."""
    results = tmp_path / "there" / "results.json"
    book_of(ours=[{"cpu_ms_per_image": 3.0}]).write(tmp_path / "results.json")
    for path, name, value in ((results, "idle", 1.0), (results, "million", 2.0), (results, "idle", 3.0)):
        with opened(path) as book:
            book.sheets.setdefault(name, {})["one"] = {"figure": value}

    assert {"idle": {"one": {"figure": 3.0}}, "million": {"one": {"figure": 2.0}}} == Book.read(results).sheets


def test_a_sheet_is_a_section_of_the_page(tmp_path: Path) -> None:
    """A column for each thing measured, under its measurement's title."""
    book = book_of(ours=[{"cpu_ms_per_image": 3.0}])
    book.sheets = {"million": {"sqlite": {"submit_peak_mb": 99.0}, "postgres": {"claim_ms": 1.5}}}

    written = page.write(book, tmp_path).read_text(encoding="utf-8")

    assert "## S5: a million rows\n" in written
    assert "| figure | sqlite | postgres |" in written
    assert "| submit peak mb | 99 |  |\n| claim ms |  | 1.5 |" in written


def test_what_was_written_by_hand_ends_the_page(tmp_path: Path) -> None:
    """It is kept beside the figures, and so outlives the page."""
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "notes.md").write_text("## What did not help\n\nThis.\n", encoding="utf-8")

    written = page.write(book_of(ours=[{"cpu_ms_per_image": 3.0}]), tmp_path).read_text(encoding="utf-8")

    assert written.endswith("## What did not help\n\nThis.\n")


def test_contestants_take_turns() -> None:
    """Each round meets everybody in every scenario, and begins with another one."""
    chosen = [CONTESTANTS[name] for name in ("asyncio", "arq", "rq")]
    turns = list(Programme(events=[(S1, chosen)], rounds=2, seconds=1.0).turns())

    assert ["asyncio", "arq", "rq", "arq", "rq", "asyncio"] == [contestant.name for _, _, contestant in turns]


def chosen(*, full: bool = False, scenario: list[str] | None = None) -> Programme:
    return programme_of(
        argparse.Namespace(full=full, scenario=scenario, contestant=None, jobs=None, rounds=3, minutes=None)
    )


def test_quick_is_ten_minutes_of_the_main_contestants() -> None:
    """In the two scenarios that say most."""
    programme = chosen()

    assert 600 == programme.seconds
    assert {"S1": {*MAIN, "arq"}, "S2": set(MAIN)} == {
        scenario.name: {one.name for one in contestants} for scenario, contestants in programme.events
    }


def test_full_is_everybody_in_everything() -> None:
    """But for the scenarios that ask a question to some alone."""
    met = {scenario.name: {one.name for one in contestants} for scenario, contestants in chosen(full=True).events}

    assert {name: set(one.contestants or CONTESTANTS) for name, one in SCENARIOS.items()} == met


def test_a_scenario_that_is_named_has_its_own_contestants_and_size() -> None:
    """Whatever the quick table has."""
    ((scenario, contestants),) = chosen(scenario=["S2-long"]).events

    assert (SCENARIOS["S2-long"], 5) == (scenario, len(contestants))


@pytest.fixture(scope="module")
def picture() -> bytes:
    subject = Subject(style="landscape", prompt="", negative_prompt="", seed=1, index=0, width=64, height=64)
    return with_comment(encode(draw(subject), "png"), '{"prompt": "picture 000007", "seed": 7, "index": 0}')


def test_the_sink_knows_whose_picture_it_is(picture: bytes) -> None:
    """By the words that the stand-in provider has written into it; what is no picture has none."""
    assert ("picture 000007", None) == (prompt_of(picture), prompt_of(b'{"id": "r1"}'))


def test_only_a_whole_picture_is_intact(picture: bytes) -> None:
    """One that was cut off anywhere, or changed in a byte, is not."""
    cut_short = [is_intact(picture[:length]) for length in range(0, len(picture), 97)]

    assert is_intact(picture)
    assert not any(cut_short)
    assert not is_intact(corrupted(picture))
