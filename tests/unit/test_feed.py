"""How far ahead of the provider's allowance jobs are sent for."""

from __future__ import annotations

import pytest

from imagejobs.feed import MOST_AHEAD, MOST_IN_MESSAGE, MOST_UNPACED, places_ahead, specs_per_message


@pytest.mark.parametrize(
    ("creates_per_minute", "booked_seconds", "places"),
    [(600, 0.0, 10), (600, 0.5, 5), (600, 1.0, 1), (600, 2.5, 0), (6000, 0.5, 50), (6, 0.0, 1), (6, 2.0, 1)],
)
def test_what_is_booked_is_not_sent_for_again(creates_per_minute, booked_seconds, places):
    """A job whose place is beyond what is claimed ahead would only come back."""
    assert places == places_ahead(creates_per_minute, booked_seconds=booked_seconds)


def test_a_slow_account_is_sent_for_in_time():
    """One job, before its place comes: at six a minute a late one costs a tenth of the allowance for each second."""
    assert 0 == places_ahead(6, booked_seconds=9.0)
    assert 1 == places_ahead(6, booked_seconds=2.4)


def test_without_a_limit_the_queue_is_filled():
    """As far as a few workers claim between two turns."""
    assert MOST_AHEAD == places_ahead(0, booked_seconds=0.0)


@pytest.mark.parametrize(
    ("creates_per_minute", "specs"), [(0, MOST_UNPACED), (6, 1), (600, 2), (6000, 15), (60_000, MOST_IN_MESSAGE)]
)
def test_a_message_holds_a_fraction_of_a_second(creates_per_minute, specs):
    """Its jobs are claimed together, and with a process that dies all of them have to be looked up."""
    assert specs == specs_per_message(creates_per_minute)
