"""A batch in figures: the contract of `status --json`, pace and advice."""

from __future__ import annotations

import pytest

from imagejobs.job import Batch
from imagejobs.states import State
from producer.children import restart_after
from producer.facts import facts, is_expiry_near, way_out
from producer.pace import Pace

CONTRACT = {"batch", "total", "images", "paused", "creates_sent", "possible_double_payments"}
CONTRACT |= {"first_submitted_at", "finished_at", *(state.value for state in State)}


def a_batch(**told: object) -> Batch:
    """Half done after fifty seconds."""
    counts = dict.fromkeys(State, 0) | {State.SUCCEEDED: 5, State.RUNNING: 5}
    usual = {"id": 1, "key": "night", "account": "a", "store": "file:///x", "total": 10, "counts": counts}
    return Batch(**{**usual, "first_submitted_at": 1000.0, **told})


def test_the_contract_is_kept() -> None:
    """Scripts rely on these names."""
    assert CONTRACT <= facts(a_batch(), now=1050.0).keys()


def test_the_seven_states_sum_to_the_total() -> None:
    """In every view."""
    seen = facts(a_batch(), now=1050.0)

    assert seen["total"] == sum(seen[state.value] for state in State)


def test_times_are_iso_8601() -> None:
    """In UTC, and null while there is none."""
    seen = facts(a_batch(), now=1050.0)

    assert ("1970-01-01T00:16:40.000000Z", None) == (seen["first_submitted_at"], seen["finished_at"])


def test_the_nearest_expiry_is_told_and_loud_when_it_is_near() -> None:
    """Half an hour before outputs die there is still time to put the store right."""
    waiting = a_batch(nearest_expiry=5000.0)

    assert "1970-01-01T01:23:20.000000Z" == facts(waiting, now=1050.0)["nearest_expiry"]
    assert (False, True) == (is_expiry_near(waiting, now=1050.0), is_expiry_near(waiting, now=4000.0))
    assert (None, False) == (facts(a_batch(), now=1050.0)["nearest_expiry"], is_expiry_near(a_batch(), now=1050.0))


def test_the_average_and_what_is_left_of_the_time() -> None:
    """Five in fifty seconds: the other five take fifty more."""
    seen = facts(a_batch(), now=1050.0)

    assert (6.0, 50) == (seen["jobs_per_minute"], seen["eta_seconds"])


def test_a_batch_that_has_not_begun_has_no_pace() -> None:
    """Nothing is made up."""
    seen = facts(a_batch(first_submitted_at=None), now=1050.0)

    assert (None, None) == (seen["jobs_per_minute"], seen["eta_seconds"])


def paced(*seen: tuple[float, int]) -> Pace:
    """What was done at which moment."""
    pace = Pace()
    for at, done in seen:
        pace.saw(done, at=at)
    return pace


def test_the_pace_is_that_of_the_last_minute() -> None:
    """A slow start is forgotten."""
    assert 2.0 == paced((0, 1), (100, 2), (130, 62), (160, 122)).per_second


def test_the_warm_up_does_not_count() -> None:
    """The first job done starts the measure."""
    assert 1.0 == paced((0, 0), (30, 0), (31, 1), (41, 11)).per_second


def test_a_retry_starts_the_measure_anew() -> None:
    """Less done than before is no pace backwards."""
    assert None is paced((0, 50), (10, 60), (11, 40)).per_second


def test_the_rest_takes_its_time_at_that_pace() -> None:
    """And nobody knows while nothing moves."""
    assert 20.0 == paced((0, 10), (10, 60)).seconds_for(100)
    assert None is paced((0, 10), (10, 10)).seconds_for(100)


@pytest.mark.parametrize("kind", ["user", "auth_billing", "storage", "breaker"])
def test_every_pause_names_its_way_out(kind: str) -> None:
    """A command to copy."""
    assert "imagejobs resume night" in way_out(a_batch(paused="because", paused_kind=kind))


def test_restarts_slow_down_to_twice_a_minute() -> None:
    """A worker that cannot live must not busy the machine, nor be given up."""
    assert [0.5, 1.0, 2.0, 30.0, 30.0] == [restart_after(deaths) for deaths in (0, 1, 2, 6, 5000)]
