"""Slow calls side by side: in which company their outcomes are written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from threading import Event

import pytest

from imagejobs.clock import SystemClock
from imagejobs.job import Job
from imagejobs.states import State
from tests.simulation.world import InTurn
from worker.abreast import Abreast, Decided
from worker.outcomes import Wait


def decided(number: int) -> Decided:
    """What a call comes to."""
    job = Job(
        id=number,
        batch_id=1,
        batch="b",
        row_id=str(number),
        state=State.STORING,
        version="v",
        input={},
        outputs=1,
        attempt=1,
        tries_left=1,
    )
    return job, Wait(after_seconds=1.0)


class Desk:
    """Writes down which jobs were written together."""

    def __init__(self) -> None:
        self.written: list[list[int]] = []
        self.has_written = Event()

    def conclude(self, bunch: Sequence[Decided]) -> None:
        """One transaction."""
        self.written.append(sorted(job.id for job, _ in bunch))
        self.has_written.set()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Room for eight calls."""
    with ThreadPoolExecutor(8) as pool:
        yield pool


def held(gate: Event, number: int) -> Decided:
    """A call that ends when it is let."""
    assert gate.wait(60)
    return decided(number)


def test_a_slow_call_holds_no_other_back(pool):
    """What the others came to is written while it still hangs."""
    desk, gate = Desk(), Event()
    calls = Abreast(pool, clock=SystemClock(), conclude=desk.conclude)
    calls.start(lambda: held(gate, 1))
    for number in (2, 3):
        calls.start(lambda number=number: decided(number))
    waiting = pool.submit(calls.write)

    assert desk.has_written.wait(60)
    assert {2, 3} >= set(desk.written[0])

    gate.set()
    waiting.result(60)

    assert [1, 2, 3] == sorted(chain(*desk.written))
    assert [1] == desk.written[-1]


def test_calls_that_end_together_are_written_together(pool):
    """One transaction for all of them."""
    desk, gate = Desk(), Event()
    calls = Abreast(pool, clock=SystemClock(), conclude=desk.conclude)
    for number in range(5):
        calls.start(lambda number=number: decided(number))
    calls.start(lambda: held(gate, 5))  # so that the others wait for company
    pool.submit(gate.set)
    calls.write()

    assert [0, 1, 2, 3, 4, 5] == sorted(chain(*desk.written))
    assert len(desk.written) < 6


def test_waiting_ends_at_the_given_moment(pool):
    """The next create's slot comes first; what is not answered by then is written later."""
    desk, gate, clock = Desk(), Event(), SystemClock()
    calls = Abreast(pool, clock=clock, conclude=desk.conclude)
    calls.start(lambda: held(gate, 1))
    calls.write(until=clock.monotonic() + 0.01)

    assert [] == desk.written

    gate.set()
    calls.write()

    assert [[1]] == desk.written


def test_nothing_to_wait_for_is_no_wait(pool):
    """An empty message ends at once."""
    desk = Desk()
    Abreast(pool, clock=SystemClock(), conclude=desk.conclude).write()

    assert [] == desk.written


def test_what_cannot_be_written_is_raised_to_the_sender(pool):
    """The ledger is away: the message ends, and its jobs fall due again."""

    def refuse(_: Sequence[Decided]) -> None:
        raise LookupError("no ledger")

    calls = Abreast(pool, clock=SystemClock(), conclude=refuse)
    calls.start(lambda: decided(1))

    with pytest.raises(LookupError):
        calls.write()


class Turned:
    """A steady clock that stands still until it is set."""

    def __init__(self) -> None:
        self.time = 0.0

    def monotonic(self) -> float:
        """As it was set."""
        return self.time


def test_an_answer_waits_for_the_next_call_when_that_is_near():
    """Creates in their slots: each is answered before the next one begins, and all are written together."""
    desk, clock = Desk(), Turned()
    calls = Abreast(InTurn(), clock=clock, conclude=desk.conclude)
    for number in range(3):
        clock.time = number * 0.03
        calls.start(lambda number=number: decided(number))
        calls.write(until=clock.time + 0.03)

    assert [] == desk.written

    calls.write()

    assert [[0, 1, 2]] == desk.written


def test_an_answer_does_not_wait_for_a_call_that_is_far_off():
    """The next slot comes later than an outcome may wait: it is written at once."""
    desk, clock = Desk(), Turned()
    calls = Abreast(InTurn(), clock=clock, conclude=desk.conclude)
    calls.start(lambda: decided(1))
    calls.write(until=1.0)

    assert [[1]] == desk.written
