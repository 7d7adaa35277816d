"""A prediction of the stand-in provider at any moment is a function of its record and the time."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.predictions import NS, Fate, Look, Prediction, look

CREATED_NS = 1_700_000_000 * NS
HOUR_NS = 3600 * NS


def prediction(**changes: object) -> Prediction:
    """Created at second 0, runs from second 10 to second 20, unless changed; times in `changes` are seconds."""
    record = {
        "id": "a",
        "file_key": "f",
        "model": "owner/name",
        "version": "v",
        "input": {"prompt": "a hill"},
        "seed": 7,
        "created_ns": 0,
        "starts_ns": 10,
        "ends_ns": 20,
        "fate": Fate(images=(0,)),
    } | changes
    for name in ("created_ns", "starts_ns", "ends_ns", "deadline_ns", "canceled_ns"):
        if record.get(name) is not None:
            record[name] = CREATED_NS + int(float(str(record[name])) * NS)
    return Prediction(**record)  # type: ignore[arg-type]


def at(record: Prediction, seconds: float) -> Look:
    return look(record, CREATED_NS + int(seconds * NS), keep_ns=HOUR_NS)


FAILS = Fate(error="E9828")
ODD = Fate(images=(0,), odd_status="rebalancing")
STUCK = Fate(images=(0,), odd_status="rebalancing", never_ends=True)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (prediction(), ["starting", "processing", "succeeded"]),
        (prediction(fate=FAILS), ["starting", "processing", "failed"]),
        (prediction(canceled_ns=2), ["canceled", "canceled", "canceled"]),
        (prediction(canceled_ns=12), ["starting", "canceled", "canceled"]),
        (prediction(canceled_ns=20), ["starting", "processing", "succeeded"]),
        (prediction(deadline_ns=4), ["aborted", "aborted", "aborted"]),
        (prediction(deadline_ns=14), ["starting", "canceled", "canceled"]),
        (prediction(deadline_ns=25), ["starting", "processing", "succeeded"]),
        (prediction(deadline_ns=14, canceled_ns=3), ["canceled", "canceled", "canceled"]),
        (prediction(fate=ODD), ["starting", "rebalancing", "succeeded"]),
        (prediction(fate=STUCK), ["starting", "rebalancing", "rebalancing"]),
        (prediction(fate=STUCK, canceled_ns=30), ["starting", "rebalancing", "canceled"]),
    ],
)
def test_statuses_follow_from_the_record(record: Prediction, expected: list[str]) -> None:
    """Before its start, while it runs, and afterwards: at seconds 5, 15 and 35."""
    assert expected == [str(at(record, seconds).status) for seconds in (5, 15, 35)]


def test_a_prediction_stopped_before_its_start_never_started() -> None:
    """Its age is known, but there is no start and no run time to bill."""
    seen = at(prediction(deadline_ns=4), 30)

    assert (None, CREATED_NS + 4 * NS, 0.0) == (seen.started_ns, seen.completed_ns, seen.progress)


def test_data_are_removed_an_hour_after_the_end() -> None:
    """Not a nanosecond earlier; the status stays."""
    before, after = at(prediction(), 20 + 3600 - 0.001), at(prediction(), 20 + 3600)

    assert (False, True, "succeeded") == (before.removed, after.removed, after.status)


def test_data_can_be_removed_from_the_first_moment() -> None:
    """A fault: it succeeded and its output is gone already."""
    assert at(prediction(fate=Fate(images=(0,), output="removed")), 20).removed


@given(
    seconds=st.lists(st.floats(0, 10_000), min_size=2, max_size=2),
    deadline=st.none() | st.floats(0, 40),
    canceled=st.none() | st.floats(0, 40),
    fate=st.sampled_from([Fate(images=(0,)), FAILS, ODD]),
)
def test_what_has_ended_never_changes(
    seconds: list[float], deadline: float | None, canceled: float | None, fate: Fate
) -> None:
    """Whatever comes later, apart from the removal of its data; progress only grows."""
    record = prediction(deadline_ns=deadline, canceled_ns=canceled, fate=fate)
    earlier, later = (at(record, second) for second in sorted(seconds))

    assert 0 <= earlier.progress <= later.progress <= 1
    if earlier.ended:
        assert (earlier.status, earlier.completed_ns) == (later.status, later.completed_ns)


def test_a_record_survives_the_journal() -> None:
    """Written as JSON and read back it is the same record."""
    record = prediction(fate=Fate(images=(0, 2), output="data"), webhook_events=("start",), deadline_ns=9)

    assert record == Prediction.from_json(json.loads(json.dumps(record.to_json())))
