"""When watching a batch is over, and with which exit code."""

from __future__ import annotations

from typing import Any

from imagejobs.job import Batch
from imagejobs.states import State
from producer.vigil import Vigil


def a_batch(**facts: Any) -> Batch:
    """Ten queued jobs, unless told otherwise; states by their names."""
    counts = {state: facts.pop(state.value, 0) for state in State}
    counts[State.QUEUED] = 10 - sum(counts.values())
    usual: dict[str, Any] = {"id": 1, "key": "night", "account": "a", "store": "file:///x", "total": 10}
    return Batch(**{**usual, "counts": counts, **facts})


def verdicts(*batches: Batch, patience_seconds: float = 100.0) -> list[int | None]:
    """Of batches seen ten seconds apart."""
    vigil = Vigil(patience_seconds=patience_seconds)
    return [vigil.verdict(batch, now=10.0 * number) for number, batch in enumerate(batches)]


REFUSED = {"paused": "401", "paused_kind": "auth_billing"}


def test_a_batch_at_work_is_watched_on() -> None:
    """Until its files are written: all jobs final is not enough."""
    assert [None, None] == verdicts(a_batch(running=3), a_batch(succeeded=10))


def test_closed_with_all_succeeded_is_zero() -> None:
    """The one good end."""
    assert [0] == verdicts(a_batch(succeeded=10, closed_at=1.0))


def test_closed_with_failed_or_canceled_jobs_is_three() -> None:
    """Scripts must not take it for complete."""
    assert [3] == verdicts(a_batch(succeeded=9, failed=1, closed_at=1.0))
    assert [3] == verdicts(a_batch(succeeded=9, canceled=1, closed_at=1.0))


def test_a_pause_before_anything_was_accepted_ends_it_at_once() -> None:
    """A wrong token stays wrong: nobody wants to find that out in the morning."""
    assert [None, 4] == verdicts(a_batch(submitting=1), a_batch(**REFUSED))


def test_a_pause_is_not_left_while_something_is_in_flight() -> None:
    """What is in flight may be paid for."""
    assert [None, 4] == verdicts(a_batch(submitting=1, **REFUSED), a_batch(**REFUSED))


def test_a_pause_of_a_batch_that_worked_is_waited_for() -> None:
    """It mostly ends by itself: a false refusal, a provider that is down for an hour."""
    assert [None, None, None] == verdicts(a_batch(running=1), a_batch(**REFUSED), a_batch(**REFUSED))


def test_patience_ends() -> None:
    """With the code for paused."""
    seen = [a_batch(succeeded=1, **REFUSED)] * 4

    assert [None, None, None, 4] == verdicts(*seen, patience_seconds=30)


def test_patience_ends_with_copies_waiting_for_a_full_disk() -> None:
    """Paid for, but nothing that waiting on would help."""
    seen = a_batch(storing=3, paused="the disk is full", paused_kind="storage")

    assert [None, 4] == verdicts(seen, seen, patience_seconds=10)


def test_patience_is_for_one_pause() -> None:
    """A pause that ended is forgotten."""
    paused, at_work = a_batch(succeeded=1, **REFUSED), a_batch(succeeded=1, running=1)

    assert [None] * 6 == verdicts(paused, paused, at_work, paused, paused, paused, patience_seconds=30)


def test_a_batch_found_paused_by_hand_is_left_alone() -> None:
    """Only its owner ends that pause."""
    assert [4] == verdicts(a_batch(succeeded=5, paused="by hand", paused_kind="user"))


def test_a_pause_by_hand_in_the_midst_is_waited_for() -> None:
    """Its owner is at the keyboard, and will resume it."""
    by_hand = a_batch(succeeded=5, paused="by hand", paused_kind="user")

    assert [None, None] == verdicts(a_batch(succeeded=5, running=1), by_hand)
