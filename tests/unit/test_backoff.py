"""Back-off: bounded, jittered, and pure."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.backoff import COPY, CREATE, UNREACHABLE, Backoff
from worker.tender import ease

TRIES = st.integers(min_value=0, max_value=10_000)
DICE = st.floats(min_value=0, max_value=1, exclude_max=True)


@given(tries=TRIES, throw=DICE, backoff=st.sampled_from([CREATE, COPY, UNREACHABLE]))
def test_a_wait_lies_between_its_floor_and_its_cap(tries: int, throw: float, backoff: Backoff):
    """However often it was tried, however the dice fall."""
    seconds = backoff.seconds(tries, lambda: throw)

    assert backoff.floor_seconds <= seconds <= backoff.floor_seconds + backoff.cap_seconds


@given(tries=TRIES, throw=DICE)
def test_the_reach_never_shrinks(tries: int, throw: float):
    """One more failure never makes the wait shorter, on the same throw."""
    assert CREATE.seconds(tries, lambda: throw) <= CREATE.seconds(tries + 1, lambda: throw)


def test_full_jitter_spreads_a_herd():
    """Jobs that failed together do not come back together."""
    assert 100 == len({CREATE.seconds(5, lambda throw=throw: throw / 100) for throw in range(100)})


@given(lag=st.floats(min_value=-1000, max_value=10_000), keep=st.floats(min_value=60, max_value=7200))
def test_submitting_eases_off_as_copying_falls_behind(lag: float, keep: float):
    """Full speed while copies are fresh, none when the oldest has waited for ten minutes."""
    share = ease(nearest_expiry=5000 + keep - lag, keep_seconds=keep, now=5000)

    assert 0 <= share <= 1
    assert lag > 60 * min(1, keep / 3600) or share == 1
    assert lag < 600 or share == 0


def test_nothing_to_copy_is_full_speed():
    """An idle store holds nobody up."""
    assert 1 == ease(None, 3600, 0)
