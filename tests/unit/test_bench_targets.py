"""The targets are held against what was measured, and each names a command that there is."""

from __future__ import annotations

import shlex

import pytest

from ops.bench.__main__ import parser
from ops.bench.book import Book, Figures
from ops.bench.findings import Values, lossless, ratio_to
from ops.bench.targets import TARGETS, Target

OURS = "imagejobs-sqlite-2"


def book_of(*runs: tuple[str, str, int, Figures]) -> Book:
    book = Book(made_at="2026-11-24 20:00 UTC", machine={}, versions={})
    for scenario, contestant, number, figures in runs:
        book.scenarios[scenario] = {}
        book.runs.append(
            {"scenario": scenario, "contestant": contestant, "play": "a", "round": number, "figures": figures}
        )
    return book


def target_of(what: str) -> Target:
    return next(target for target in TARGETS if target.what == what)


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ({}, "not measured"),
        ({"one": None}, "not measured"),
        ({"one": 0.99}, "reached"),
        ({"one": 0.995, "two": None}, "reached where measured"),
        ({"one": 0.995, "two": 0.98, "three": None}, "**not reached**"),
    ],
)
def test_one_that_fails_decides_and_a_gap_is_said(values: Values, verdict: str) -> None:
    """Nothing is reached by not looking."""
    target = Target(what="", command="", values=lambda _: values, at_least=0.99)

    assert verdict == target.verdict(values)


def test_a_count_that_must_be_zero_is_measured_as_such() -> None:
    """Zero is a value, not a gap."""
    target = target_of("S3: lost")
    clean, loses = book_of(("S3", OURS, 0, {"lost": 0})), book_of(("S3", OURS, 0, {"lost": 1}))

    assert "0" == target.bound
    assert ["reached where measured", "**not reached**"] == [
        target.verdict(target.values(one)) for one in (clean, loses)
    ]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.what)
def test_every_target_names_a_command_that_there_is(target: Target) -> None:
    """And says nothing, rather than anything, of an empty book."""
    words = shlex.split(target.command)

    assert ["python", "-m", "ops.bench"] == words[:3]
    assert callable(parser().parse_args(words[3:]).run)
    assert "not measured" == target.verdict(target.values(book_of()))


def test_a_ratio_is_taken_round_by_round() -> None:
    """A machine that was slow for one round was so for both; rounds that only one has run are left out."""
    book = book_of(
        *(("S1", OURS, number, {"cpu_ms_per_image": value}) for number, value in enumerate((3.0, 30.0, 6.0, 1.0))),
        *(("S1", "taskiq", number, {"cpu_ms_per_image": value}) for number, value in enumerate((2.0, 20.0, 4.0))),
    )

    assert 1.5 == ratio_to(book, "S1", "cpu_ms_per_image", "taskiq")
    assert None is ratio_to(book, "S1", "cpu_ms_per_image", "arq")


def test_the_best_queue_is_the_one_against_whom_ours_looks_worst() -> None:
    """Of CPU time the one that needs least, named beside the value."""
    book = book_of(
        ("S1", OURS, 0, {"cpu_ms_per_image": 6.0}),
        ("S1", "taskiq", 0, {"cpu_ms_per_image": 4.0}),
        ("S1", "arq", 0, {"cpu_ms_per_image": 8.0}),
        ("S1", "asyncio", 0, {"cpu_ms_per_image": 1.0}),  # a script is no queue
    )

    assert {"S1, taskiq": 1.5, "S2": None} == target_of("CPU an image, to the best queue").values(book)


def test_a_queue_that_loses_something_is_no_measure_of_speed() -> None:
    """Ours is held against those that lose nothing in S3."""
    book = book_of(
        ("S1", OURS, 0, {"images_per_second": 150.0}),
        ("S1", "arq", 0, {"images_per_second": 100.0}),
        ("S1", "taskiq", 0, {"images_per_second": 300.0}),
        ("S3", "arq", 0, {"lost": 0.0}),
        ("S3", "taskiq", 0, {"lost": 542.0}),
    )
    target = target_of("images a second, two workers, to the best queue that loses nothing in S3")

    assert ["arq"] == lossless(book)
    assert {"S1, arq": 1.5} == target.values(book)


def test_other_calls_are_compared_by_number_of_workers() -> None:
    """The most that were measured, to one."""
    calls = {1: 0.10, 2: 0.11, 8: 0.13}
    book = book_of(
        *(("S2-long", f"imagejobs-sqlite-{workers}", 0, {"other_calls_per_image": of}) for workers, of in calls.items())
    )
    values = target_of("other calls an image: the most workers to one").values(book)

    assert {"S2": pytest.approx(1.3), "S4": None} == values


def test_going_through_all_rows_is_held_against_submitting_them() -> None:
    """Rows a second to rows a second, of the same ledger."""
    book = book_of()
    figures: Figures = {"submit_rows_per_second": 100.0, "export_jsonl_rows_per_second": 150.0}
    book.sheets = {"million": {"sqlite": figures}}
    values = target_of("export, failures, retry, cancel: rows a second to submit's").values(book)

    assert 1.5 == values["sqlite: export jsonl"]
    assert None is values["sqlite: cancel"]
