"""Calls to the store are tried again for a while, and many of them run at once."""

from __future__ import annotations

import threading

import pytest

from imagejobs.errors import Refused, Transient
from imagejobs.patience import Patience
from producer.abreast import THREADS, abreast


class Stumbling:
    """Fails so often, then answers."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.calls = 0
        self._failures = failures
        self._error = error

    def __call__(self, word: str) -> str:
        self.calls += 1
        if self.calls <= self._failures:
            raise self._error
        return word


def test_a_call_that_stumbles_is_tried_again():
    """Each wait is longer than the one before."""
    waits: list[float] = []
    call = Stumbling(3, Transient("SlowDown"))

    assert "done" == Patience(waits.append)(call, "done")
    assert sorted(set(waits)) == waits
    assert 3 == len(waits)


def test_patience_ends():
    """A store that is down is left to whoever asked, with its own words."""
    waits: list[float] = []

    with pytest.raises(Transient, match="SlowDown"):
        Patience(waits.append)(Stumbling(100, Transient("SlowDown")), "done")
    assert sum(waits) < 10


def test_a_refusal_is_not_tried_again():
    """Waiting is no help with a wrong key."""
    call = Stumbling(1, Refused("AccessDenied"))

    with pytest.raises(Refused):
        Patience(lambda _: None)(call, "done")
    assert 1 == call.calls


def test_results_come_in_the_order_of_the_items():
    """Though the first call is the last to end."""
    others = threading.Event()

    def double(number: int) -> int:
        if number == 0:
            assert others.wait(10)
        if number == THREADS:
            others.set()
        return 2 * number

    assert [2 * number for number in range(50)] == list(abreast(double, range(50)))


def test_items_are_taken_as_they_are_needed():
    """A million rows are not read into memory because the first one is asked for."""
    taken: list[int] = []
    results = abreast(str, (taken.append(number) or number for number in range(10_000)))
    next(results)
    results.close()

    assert len(taken) < 10 * THREADS


def test_the_error_of_a_call_is_the_caller_s():
    """In its turn: what came before it is delivered."""
    results = abreast(lambda number: 1 // number, [1, 1, 0, 1])

    assert [1, 1] == [next(results), next(results)]
    with pytest.raises(ZeroDivisionError):
        next(results)
