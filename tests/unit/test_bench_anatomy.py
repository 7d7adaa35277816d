"""The anatomy of an image's CPU time adds up, and knows the parts of the product by their present names."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from ops.bench.anatomy import REST, by_part
from ops.bench.dissect import MAIN_THREAD, Stopwatch, parts


class Processor:
    """One thread's time on it, which passes when it is told to."""

    def __init__(self) -> None:
        self.seconds = 5.0

    def burn(self, seconds: float) -> None:
        """Something is worked on for so long."""
        self.seconds += seconds


def test_a_part_is_charged_without_the_parts_inside_it() -> None:
    """Not twice."""
    processor = Processor()
    watch = Stopwatch(lambda: processor.seconds)
    inner = watch.around("inner", lambda: processor.burn(0.05))

    def outer() -> None:
        inner()
        processor.burn(0.02)
        inner()

    watch.around("outer", outer)()

    assert {"outer": 1, "inner": 2} == dict(watch.calls)
    assert pytest.approx({"outer": 0.02, "inner": 0.1}) == dict(watch.seconds)


def test_a_part_is_not_charged_for_waiting() -> None:
    """By the clock of its thread, which stands still meanwhile."""
    watch = Stopwatch()
    watch.around("waits", lambda: time.sleep(0.3))()

    assert watch.seconds["waits"] < 0.3


def test_a_call_that_raises_is_charged_too() -> None:
    """And what was inside it no longer stands in the way of the next."""
    processor = Processor()
    watch = Stopwatch(lambda: processor.seconds)
    holder = SimpleNamespace(fails=lambda: processor.burn(0.02) or 1 / 0)
    watch.wrap(holder, "fails", "fails")

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            holder.fails()

    assert 2 == watch.calls["fails"]
    assert pytest.approx(0.04) == watch.seconds["fails"]


def test_every_part_is_there_to_be_wrapped() -> None:
    """A part that was renamed would be missing from the table without a word."""
    assert [] == [(owner, name) for owner, name, _ in parts() if not callable(getattr(owner, name, None))]


def test_the_parts_add_up_to_the_process() -> None:
    """What no part accounts for is the way of a task through Celery's threads."""
    before = [{"seconds": {"put": 1.0}, "calls": {"put": 100}, "process": {"all": 3.0, MAIN_THREAD: 0.5}}]
    after = [{"seconds": {"put": 2.0}, "calls": {"put": 200}, "process": {"all": 6.0, MAIN_THREAD: 1.0}}]

    spent, calls = by_part(before, after, images=1000)

    assert [(REST, 1.5), ("put", 1.0), (MAIN_THREAD, 0.5), ("all", 3.0)] == list(spent.items())
    assert {"put": 0.1} == calls
