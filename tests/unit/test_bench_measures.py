"""The benchmarks' figures mean what their page says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.bench.fairness import share_figures
from ops.bench.measures import (
    Made,
    allowance_used,
    latencies,
    medians,
    paid_twice,
    quantile,
    safe_per_create_allowed,
)
from ops.bench.outage import after_figures
from ops.bench.run import provider_figures
from ops.bench.scenarios import S2
from ops.bench.servers import seconds
from ops.bench.watch import growth_mb, growths_mb

STATS = {
    "creates_limited": 3,
    "calls_limited": 2,
    "arrived": {"create": 9, "get": 4, "list": 2, "cancel": 1, "file": 7},
}


def made(row: str, *, status: str = "succeeded", created_at: float = 0.0, completed_at: float | None = 1.0) -> Made:
    return Made(row=row, status=status, created_at=created_at, completed_at=completed_at)


@pytest.mark.parametrize("rate", [1.0, 10.0, 100.0])
def test_an_exact_pacer_uses_the_whole_allowance(rate: float) -> None:
    """Evenly spaced creates at the limit are 1, whatever the limit."""
    used = allowance_used([number / rate for number in range(1000)], creates_per_second=rate, burst=10)

    assert pytest.approx(1.0, abs=0.01) == used


def test_a_burst_at_the_start_is_no_merit() -> None:
    """As many creates are not counted, so that no share is above what the limit allows for long."""
    at_once = [0.0] * 100 + [number / 100 for number in range(300)]

    assert pytest.approx(1.0, abs=0.01) == allowance_used(at_once, creates_per_second=100, burst=100)


def test_half_the_rate_is_half_the_allowance() -> None:
    """And the tail, where little is left to send, lowers nothing."""
    slow = [number / 5 for number in range(1000)]
    late = [slow[-1] + 10 * number for number in range(1, 11)]

    assert pytest.approx(0.5, abs=0.01) == allowance_used(slow + late, creates_per_second=10, burst=10)


@pytest.mark.parametrize(
    ("created_at", "rate"), [([], 10.0), ([1.0], 10.0), ([1.0, 1.2, 1.4, 1.5], 10.0), ([1.0, 9.0, 50.0, 99.0], 0.0)]
)
def test_without_limit_or_steady_time_there_is_no_share(created_at: list[float], rate: float) -> None:
    """None, and not some number that nobody should compare."""
    assert None is allowance_used(created_at, creates_per_second=rate, burst=2)


def test_what_is_safe_counts_against_what_was_allowed() -> None:
    """In the time from first to last create, and the burst that was allowed at its beginning."""
    assert 0.5 == safe_per_create_allowed(50, [0.0, 4.0, 9.0], creates_per_second=10, burst=10)
    assert None is safe_per_create_allowed(50, [0.0, 9.9], creates_per_second=0, burst=10)


def test_paid_twice_counts_what_was_not_needed() -> None:
    """A prediction that failed may be paid for again; one that succeeded, or still runs, may not."""
    predictions = [
        made("failed once", status="failed"),
        made("failed once"),
        made("blindly repeated"),
        made("blindly repeated", status="processing", completed_at=None),
        made("blindly repeated"),
        made("once"),
    ]

    assert 2 == paid_twice(predictions)


def test_latency_is_counted_from_the_prediction_that_was_copied() -> None:
    """The last of the row that had ended by then; a row without an image has no latency."""
    predictions = [
        made("twice", completed_at=10.0),
        made("twice", completed_at=14.0),
        made("twice", completed_at=20.0),
        made("lost", completed_at=5.0),
        made("failed", status="failed", completed_at=1.0),
    ]

    assert [1.5] == latencies(predictions, {"twice": 15.5, "failed": 3.0})


@given(st.lists(st.floats(allow_nan=False), min_size=1))
def test_quantiles_are_values_that_were_seen(values: list[float]) -> None:
    """Also the outermost ones."""
    assert (min(values), max(values)) == (quantile(values, 0.0), quantile(values, 1.0))
    assert quantile(values, 0.5) in values


def test_ninety_nine_of_a_hundred_do_not_exceed_p99() -> None:
    """By the nearest-rank method."""
    assert (50, 99, None) == (quantile(range(1, 101), 0.5), quantile(range(1, 101), 0.99), quantile([], 0.5))


def test_medians_pass_over_what_is_missing() -> None:
    """A figure that only some runs have is the median of those; one that none has stays empty."""
    runs = [{"a": 1.0, "b": None, "c": None}, {"a": 5.0, "b": 2.0, "c": None}, {"a": 3.0}]

    assert {"a": 3.0, "b": 2.0, "c": None} == medians(runs)


def test_figures_come_from_the_servers_counts() -> None:
    """Lost is what the sink never saw; calls are those that arrived, refused ones included."""
    predictions = [made(f"row {one}", created_at=100 + one / 100, completed_at=103.0 + one) for one in range(4)]
    arrivals = {f"row {one}": 103.5 + one for one in range(3)}

    figures = provider_figures(predictions, STATS, arrivals, scenario=S2.of(5))

    assert (3, 2, 0, 4) == tuple(figures[name] for name in ("images", "lost", "paid_twice", "creates_accepted"))
    assert (5, 7 / 3) == (figures["replies_429"], figures["other_calls_per_image"])
    assert (0.5, 0.5) == (figures["safe_after_median_s"], figures["safe_after_p99_s"])
    assert 3 / 5.5 == figures["images_per_second"]


def test_a_run_without_images_has_figures_too() -> None:
    """All lost, and nothing divided by nothing."""
    figures = provider_figures([], STATS, {}, scenario=S2.of(5))

    assert (5, None, None) == (figures["lost"], figures["images_per_second"], figures["other_calls_per_image"])


def test_time_stamps_keep_their_fraction() -> None:
    """Whatever number of digits there are."""
    assert [0.0, 1.5, 86_400.25] == [
        seconds(stamp)
        for stamp in ("1970-01-01T00:00:00Z", "1970-01-01T00:00:01.500Z", "1970-01-02T00:00:00.250000000Z")
    ]


def test_memory_grows_from_the_first_warm_look_to_the_last() -> None:
    """What is taken before a quarter of the images is no leak; one look is no growth."""
    mb = 1_000_000
    weighed = [
        (0.0, {1: 10 * mb}),
        (0.3, {1: 40 * mb, 2: 20 * mb}),
        (0.6, {1: 90 * mb}),
        (1.0, {1: 50 * mb, 3: 22 * mb}),
    ]

    assert (12.0, None) == (growth_mb(weighed), growth_mb(weighed[:2]))


def test_growth_of_a_process_is_its_own() -> None:
    """One that came later, or has gone, has none."""
    mb = 1_000_000
    weighed = [(0.1, {1: mb}), (0.3, {1: 40 * mb, 2: 20 * mb}), (1.0, {1: 43 * mb, 3: 90 * mb})]

    assert ({1: 3.0}, {}) == (growths_mb(weighed), growths_mb(weighed[:2]))


def test_shares_count_while_all_have_something_to_send() -> None:
    """From the settling to the end of the first batch that has sent all; what another gets after that says nothing."""
    small = [float(second) for second in range(1, 101)]
    large = [second + part for second in range(1, 101) for part in (0.2, 0.4)] + [102 + one / 10 for one in range(50)]

    even = share_figures([small, large], [(1, 100), (2, 500)])
    uneven = share_figures([small, large], [(1, 100), (1, 500)])

    assert (3 * 96 - 1, True) == (
        even["creates_while_all_had_work"],
        (even["largest_deviation_from_weight"] or 0) < 0.05,
    )
    assert pytest.approx(1 / 3, abs=0.02) == uneven["largest_deviation_from_weight"]


def test_a_store_is_caught_up_with_when_all_that_waited_is_in_it() -> None:
    """What ended while it was away, and not what ended later; whether it is slower afterwards is said of the rest."""
    predictions = [
        made("before", completed_at=10.0),
        made("waited", completed_at=40.0),
        made("waited long", completed_at=20.0),
        made("meanwhile", completed_at=101.0),
        made("afterwards", completed_at=130.0),
    ]
    arrivals = {"before": 11.0, "waited": 105.0, "waited long": 120.0, "meanwhile": 121.0, "afterwards": 131.5}

    figures = after_figures(predictions, arrivals, back_at=100.0)

    assert (2, 20.0) == (figures["images_that_waited"], figures["caught_up_after_s"])
    assert (1.5, 1.5) == (figures["afterwards_safe_after_median_s"], figures["afterwards_safe_after_p99_s"])
