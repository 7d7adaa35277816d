"""When the next sweep makes sense, by what the last one saw."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagejobs.edges.dialects import Prediction
from worker.planning import (
    BLIND_SECONDS,
    CALLS_AN_IMAGE,
    EARLY,
    FEW,
    LATEST_SECONDS,
    REMEMBERED,
    SHORTEST_SECONDS,
    SLOWEST_SECONDS,
    Limits,
    RunTimes,
    next_look,
    next_sweep,
)
from worker.stages.poll import RECHECK_SECONDS

MANY = 100_000  # predictions that run on: more than any sweep here has pages for
GENEROUS = Limits(calls_per_minute=30_000, keep_seconds=3600)
NONE = Limits(calls_per_minute=0, keep_seconds=3600)


def wait(
    *,
    calls: int = 1,
    flying: int = MANY,
    ended_at: Iterable[float] = (),
    soonest_seconds: float = 0.0,
    limits: Limits = GENEROUS,
) -> float:
    """How long the next sweep is waited for."""
    return next_sweep(calls=calls, flying=flying, ended_at=ended_at, soonest_seconds=soonest_seconds, limits=limits)


def steadily(a_second: float, *, seconds: float = 1.0) -> list[float]:
    """The ends of predictions that end at this rate for so long."""
    return [number / a_second for number in range(int(a_second * seconds) + 1)]


@pytest.mark.parametrize(("a_second", "calls"), [(20, 3), (100, 4), (100, 12)])
def test_calls_for_each_image_stay_within_the_budget(a_second: float, calls: int):
    """As many end until the next sweep as make its calls worth it."""
    assert calls == pytest.approx(CALLS_AN_IMAGE * a_second * wait(calls=calls, ended_at=steadily(a_second)))


def test_few_images_are_not_waited_for_until_they_are_many():
    """At one a minute the budget would have each of them wait for minutes."""
    assert 3.0 == wait(calls=3, ended_at=[0.0, 60.0])


def test_the_last_few_are_not_waited_for_as_if_they_were_many():
    """A page shows them, or they are looked at singly; that the sweep before read five pages tells nothing of it."""
    assert 1.0 == wait(calls=5, flying=FEW)


def test_some_that_hang_deep_in_the_list_are_no_reason_to_read_it_all_the_time():
    """Five that take minutes, below three thousand that ended since: thirty pages a sweep."""
    assert SLOWEST_SECONDS == wait(calls=30, flying=FEW + 1, ended_at=steadily(10))


@pytest.mark.parametrize("ended_at", [[], [5.0], [5.0, 5.0]])
def test_one_or_two_tell_of_no_rate(ended_at: list[float]):
    """Two that ended at the same time are no flood."""
    assert 1.0 == wait(ended_at=[*ended_at])


def test_without_limits_a_sweep_comes_soon_and_not_at_once():
    """What it costs then is processor time."""
    assert SHORTEST_SECONDS == wait(ended_at=steadily(500), limits=NONE) == wait(flying=3, limits=NONE)


def test_the_allowance_is_left_to_others_for_the_most_part():
    """Three calls a sweep of sixty a minute: one in four seconds is a sweep's."""
    assert 12.0 == wait(calls=3, ended_at=steadily(100), limits=Limits(calls_per_minute=60, keep_seconds=3600))


def test_nothing_is_looked_for_before_it_can_have_ended():
    """But now and then all the same."""
    assert (4.0, BLIND_SECONDS) == (wait(soonest_seconds=4.0), wait(soonest_seconds=50.0))


def test_outputs_that_die_soon_are_looked_for_sooner():
    """A sweep may not use up the time that their copying needs."""
    assert 3.0 == wait(calls=15, limits=Limits(calls_per_minute=3000, keep_seconds=60))


@given(
    calls=st.integers(0, 1000),
    flying=st.integers(0, 100_000),
    ended_at=st.lists(st.floats(0, 1e10)),
    soonest_seconds=st.floats(-1e6, 1e6),
    limits=st.builds(Limits, calls_per_minute=st.floats(0.001, 1e6), keep_seconds=st.floats(0.001, 1e6)),
)
def test_whatever_was_seen_the_wait_is_bounded(calls, flying, ended_at, soonest_seconds, limits):
    """No sweep follows at once, and none is put off for long."""
    seconds = wait(calls=calls, flying=flying, ended_at=ended_at, soonest_seconds=soonest_seconds, limits=limits)

    assert SHORTEST_SECONDS <= seconds <= SLOWEST_SECONDS


def ended(*, after_seconds: float, status: str = "succeeded", started_at: float | None = 100.0) -> Prediction:
    """A prediction's record."""
    return Prediction(id="p", status=status, created_at=started_at, completed_at=100.0 + after_seconds)


def learnt(*predictions: Prediction) -> RunTimes:
    """Run times of the version `v` by these."""
    times = RunTimes()
    for one in predictions:
        times.learn("v", one)
    return times


def test_a_version_that_was_never_seen_is_looked_at_at_once():
    """It may take a tenth of a second."""
    assert 0.0 == learnt(ended(after_seconds=9.0)).earliest("another")


def test_whoever_asks_says_what_holds_for_one_never_seen():
    """A single look costs a call, and waits; one that is known does not."""
    assert (2.0, EARLY * 9.0) == tuple(
        learnt(ended(after_seconds=9.0)).earliest(version, unseen=2.0) for version in ("another", "v")
    )


def test_the_shortest_run_time_says_when_to_begin_to_look():
    """A little before it."""
    assert EARLY * 4.0 == learnt(ended(after_seconds=9.0), ended(after_seconds=4.0)).earliest("v")


def test_a_cold_start_is_forgotten_with_the_first_warm_run():
    """And a warm model that grew slower, in some dozens."""
    warm = learnt(*[ended(after_seconds=20.0)] * REMEMBERED, ended(after_seconds=2.0))
    slow = learnt(ended(after_seconds=2.0), *[ended(after_seconds=20.0)] * REMEMBERED)

    assert (EARLY * 2.0, EARLY * 20.0) == (warm.earliest("v"), slow.earliest("v"))


def test_a_model_of_minutes_is_not_taken_at_its_word():
    """A cold start of minutes says nothing of what comes after it."""
    assert LATEST_SECONDS == learnt(ended(after_seconds=600.0)).earliest("v")


@pytest.mark.parametrize(
    ("age_seconds", "earliest_seconds", "seconds"),
    [
        (2.0, 1.0, 1.0),  # nobody knows how long it takes
        (20.0, 1.0, 6.0),
        (300.0, 1.0, RECHECK_SECONDS),  # a cold start
        (40.0, 30.0, 12.0),
        (0.1, 0.0, SHORTEST_SECONDS),  # a provider that tells whole seconds only
        (0.5, 0.2, 0.5),  # a quick model
        (3.0, 0.2, 1.0),  # … that takes long
    ],
)
def test_the_older_a_prediction_the_rarer_its_single_looks(age_seconds, earliest_seconds, seconds):
    """Each is a call for one image."""
    assert seconds == pytest.approx(next_look(age_seconds=age_seconds, earliest_seconds=earliest_seconds))


def test_a_quick_model_that_takes_long_costs_a_few_single_looks():
    """Three seconds, where it took a fifth of one."""
    age, looks = EARLY * 0.2, 0
    while age < 3.0:
        looks += 1
        age += next_look(age_seconds=age, earliest_seconds=EARLY * 0.2)

    assert looks <= 5


@pytest.mark.parametrize(
    "record",
    [
        ended(after_seconds=1.0, status="failed"),
        ended(after_seconds=1.0, status="canceled"),
        ended(after_seconds=1.0, started_at=None),
    ],
)
def test_what_says_nothing_of_the_run_time_is_not_learnt(record: Prediction):
    """Failures end when they like; a record without its times has none."""
    assert EARLY * 5.0 == learnt(record, ended(after_seconds=5.0)).earliest("v")
