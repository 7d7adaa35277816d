"""The list is never asked from a moment later than ours, nor than a Date of the last hour has it."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from imagejobs.edges.clock_offset import MOST_SECONDS, REMEMBERED_SECONDS, ClockOffset


class HandClock:
    """Moved by hand."""

    def __init__(self) -> None:
        self.at = 1_800_000_000.0

    def now(self) -> float:
        """The wall's."""
        return self.at

    def monotonic(self) -> float:
        """The same hand moves it."""
        return self.at

    def sleep(self, seconds: float) -> None:
        """Nobody waits here."""
        self.at += seconds


@pytest.fixture
def clock() -> HandClock:
    """Set to a whole second."""
    return HandClock()


def heard(clock: HandClock, *behind: float) -> ClockOffset:
    """Replies of a provider whose clock was so far behind, in turn."""
    offset = ClockOffset(clock)
    for seconds in behind:
        offset.hear(formatdate(clock.at - seconds, usegmt=True), took_seconds=0.1)
    return offset


@pytest.mark.parametrize(
    ("behind", "expected"),
    [((300.0,), -300.0), ((-300.0,), 0.0), ((300.0, 0.0), -300.0), ((0.0, 300.0, 10.0), -300.0)],
)
def test_the_least_of_what_was_heard_counts(clock: HandClock, behind: tuple[float, ...], expected: float) -> None:
    """Ahead is none: too early costs a page, too late a second payment."""
    assert expected == heard(clock, *behind).seconds


@pytest.mark.parametrize("date", [None, "", "yesterday"])
def test_what_is_no_date_says_nothing(clock: HandClock, date: str | None) -> None:
    """Nor does one that is a day off."""
    offset = heard(clock, 40.0, MOST_SECONDS)
    offset.hear(date, took_seconds=0.1)

    assert -40.0 == offset.seconds


def test_a_reply_that_was_long_in_coming_says_nothing(clock: HandClock) -> None:
    """Whoever slept over it has a Date of before."""
    offset = heard(clock)
    offset.hear(formatdate(clock.at - 7200.0, usegmt=True), took_seconds=7200.0)

    assert 0.0 == offset.seconds


def test_it_is_remembered_for_an_hour(clock: HandClock) -> None:
    """And then forgotten: a clock that was put right stays so."""
    offset, found = heard(clock, 300.0), []
    for _ in range(3):
        clock.at += REMEMBERED_SECONDS + 1
        offset.hear(formatdate(clock.at, usegmt=True), took_seconds=0.1)
        found.append(offset.seconds)

    assert [-300.0, 0.0, 0.0] == found


def test_a_second_or_two_are_no_difference(clock: HandClock) -> None:
    """Dates have whole seconds."""
    assert [False, True] == [heard(clock, behind).is_less_than(0.0) for behind in (3.0, 300.0)]
