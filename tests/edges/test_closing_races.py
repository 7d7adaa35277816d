"""Closing while others close, retry or die, and while the store stumbles: no marker while a job is live."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from imagejobs import closing
from imagejobs.errors import Cause, Permanent, Refused
from imagejobs.layout import part_key
from tests.edges.closers import (
    BLIP,
    DENIED,
    HASTY,
    MARKER,
    Watched,
    close,
    failing,
    has_marker,
    ids,
    lines,
    requeue,
    retry,
)
from tests.night import Night


def test_one_closer_at_a_time(night: Night):
    """The second one leaves the work to the first while its lease lasts."""
    night.ledger.batches.start_closing(night.batch.id, now=night.now, lease_until=night.now + 900)

    assert not close(night, now=night.now + 899)
    assert close(night, now=night.now + 901)


def test_a_retry_takes_the_marker_away_before_anything_is_queued(night: Night):
    """Nobody sees a finished batch with live jobs."""
    close(night)
    with closing.reopened(night.ledger, night.store, night.batch, now=night.now):
        assert not has_marker(night)
        assert 0 == night.batch.live


def test_a_retry_that_succeeds_leaves_no_failed_row_behind(night: Night):
    """The files are those of the newest closing."""
    close(night)
    retry(night, "r3")
    night.begin()
    night.succeed("r3", images=2)

    assert close(night)
    assert [] == ids(night.folder / "failed.jsonl")
    assert ["r1", "r2", "r2", "r3", "r3"] == ids(night.folder / "manifest" / "part-00000.jsonl")
    assert 5 == lines(night.folder / "_SUCCESS")[0]["images"]


def test_a_retry_of_nothing_leaves_a_batch_that_closes_again(night: Night):
    """The selection was empty by the time it was made."""
    close(night)
    retry(night, "nobody")

    assert not has_marker(night)
    assert close(night)
    assert has_marker(night)


@pytest.mark.parametrize(
    "moment",
    [
        ("put_file", part_key("night", 0, "parquet")),
        ("put_file", "night/failures.jsonl"),
        ("put", MARKER),
    ],
    ids=["among the files", "after the files", "at the marker"],
)
def test_a_retry_during_a_closing_wins(night: Night, moment: tuple[str, str]):
    """The closer finds out, at the latest when the ledger refuses it, and leaves no marker."""
    store = Watched(night.store)
    store.before[moment] = lambda: retry(night, "r3")

    assert not close(night, store)
    assert not has_marker(night)
    assert (False, 1) == (night.batch.is_done, night.batch.live)


def test_a_retry_between_marker_and_ledger_wins(night: Night):
    """The marker was there for a moment, and told the truth; the refused closer takes it away."""
    store = Watched(night.store)
    store.after["put", MARKER] = lambda: retry(night, "r3")

    assert not close(night, store)
    assert not has_marker(night)
    assert (False, 1) == (night.batch.is_done, night.batch.live)


def test_a_marker_put_while_a_retry_queues_is_taken_away(night: Night):
    """A whole closing fits between the retry's first step and its second: the retry looks again."""
    with closing.reopened(night.ledger, night.store, night.batch, now=night.now):
        assert close(night)
        assert has_marker(night)
        requeue(night, "r3")

    assert not has_marker(night)
    assert (False, 1) == (night.batch.is_done, night.batch.live)


def test_a_closer_that_dies_after_the_marker_is_tidied_up_by_the_retry(night: Night):
    """Its marker is taken away, for its batch was not closed."""
    store = Watched(night.store)
    store.after["put", MARKER] = failing(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        close(night, store)
    assert has_marker(night)
    retry(night, "r3")

    assert not has_marker(night)


def test_a_retry_that_dies_before_it_queues_leaves_a_batch_that_closes_again(night: Night):
    """The marker is gone, and nothing is live: without the ledger's word, nobody would ever put it back."""
    close(night)
    store = Watched(night.store)
    store.after["delete", MARKER] = failing(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        retry(night, "r3", store=store)

    assert (False, False, 0) == (has_marker(night), night.batch.is_done, night.batch.live)
    assert not close(night, now=night.now + 59)
    assert close(night, now=night.now + 61)
    assert has_marker(night)


def test_a_retry_that_dies_beside_a_closer_leaves_a_batch_that_closes_again(night: Night):
    """The closer had its files ready: it finds the batch opened anew, and does not close it without its marker."""
    store = Watched(night.store)
    dying = Watched(night.store)
    dying.after["delete", MARKER] = failing(KeyboardInterrupt())

    def retry_dies() -> None:
        with pytest.raises(KeyboardInterrupt):
            retry(night, "r3", store=dying)

    store.after["put", MARKER] = retry_dies
    assert close(night, store)
    assert (True, True) == (has_marker(night), night.batch.is_done)


def test_a_refusal_after_a_lost_reply_leaves_no_closed_batch_without_its_marker(night: Night):
    """The marker may be gone: whoever works closes the batch again."""
    close(night)
    store = Watched(night.store)
    store.after["delete", MARKER] = stumbling(store)
    with pytest.raises(Refused):
        retry(night, "r3", store=store)

    assert not night.batch.is_done
    assert close(night, now=night.now + 61)
    assert has_marker(night)


def stumbling(store: Watched) -> Callable[[], None]:
    """What was done is not heard of, and is refused the next time."""

    def stumble() -> None:
        store.before["delete", MARKER] = failing(DENIED)
        raise BLIP

    return stumble


def test_a_closer_that_dies_is_replaced(night: Night):
    """Its lease runs out, and the next one does it all again."""
    store = Watched(night.store)
    store.before["put_file", "night/metadata.jsonl"] = failing(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        close(night, store)

    assert not close(night)
    assert close(night, now=night.now + 2000)
    assert has_marker(night)


def everything_else(night: Night) -> None:
    """What happens while a closer sleeps: a retry, its success, and the closing by another."""
    retry(night, "r3")
    night.begin()
    night.succeed("r3", images=2)
    assert close(night)


@pytest.mark.parametrize(
    "moment",
    [
        ("delete", MARKER),
        ("put_file", part_key("night", 0, "jsonl")),
        ("put_file", "night/failed.jsonl"),
        ("put", MARKER),
    ],
    ids=["at the old marker", "at the manifest", "at the failures", "at the new marker"],
)
def test_a_closer_that_wakes_up_late_mends_what_it_overwrote(night: Night, moment: tuple[str, str]):
    """Others have closed the batch anew meanwhile: what stays are the files and the marker of the newest closing."""
    store = Watched(night.store)
    store.before[moment] = lambda: everything_else(night)
    close(night, store)

    assert has_marker(night)
    assert night.batch.is_done
    assert ["r1", "r2", "r2", "r3", "r3"] == ids(night.folder / "manifest" / "part-00000.jsonl")
    assert [] == ids(night.folder / "failed.jsonl")
    assert 5 == lines(night.folder / "_SUCCESS")[0]["images"]


def test_two_closers_at_once_agree(night: Night):
    """One overstayed its lease: both write the same, and the batch is closed once."""
    store = Watched(night.store)
    store.before["put", MARKER] = lambda: close(night, now=night.now + 5000)

    assert close(night, store)
    assert has_marker(night)
    assert night.batch.is_done


def test_a_retry_that_takes_a_newer_marker_away_puts_it_back(night: Night):
    """It slept between queueing and its second look; by then the batch was finished and closed again."""
    close(night)
    store = Watched(night.store)
    with closing.reopened(night.ledger, store, night.batch, now=night.now, patience=HASTY):
        requeue(night, "r3")
        store.before["delete", MARKER] = lambda: finish(night)

    assert has_marker(night)
    assert night.batch.is_done
    assert 5 == lines(night.folder / "_SUCCESS")[0]["images"]


def finish(night: Night) -> None:
    """The queued job succeeds, and a worker closes the batch."""
    night.begin()
    night.succeed("r3", images=2)
    assert close(night)


def test_a_store_that_stumbles_is_tried_again(night: Night):
    """One refused call in a hundred does not put a closing off."""
    store = Watched(night.store)
    store.before["put_file", "night/metadata.jsonl"] = failing(BLIP)
    store.before["put", MARKER] = failing(BLIP)

    assert close(night, store)


class Down:
    """A store that is down, or does not let us in."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: failing(self._error)()


def test_a_store_that_is_down_puts_closing_off_for_longer_and_longer(night: Night):
    """Half as long again as it has been waiting; nothing is lost, and after minutes a pause tells why."""
    ended, told = night.now, []
    for waited, until in [(4, 9), (100, 150), (10_000, 10_600)]:
        assert not close(night, Down(BLIP), now=ended + waited)
        assert not close(night, now=ended + until - 1)
        told.append(night.batch.paused)

    assert [None, None, f"its files cannot be written: {BLIP}"] == told
    assert close(night, now=ended + 10_601)
    assert night.batch.paused is None


@pytest.mark.parametrize("error", [DENIED, Permanent("no store can hold it", cause=Cause.STORAGE)], ids=["key", "kind"])
def test_a_store_that_refuses_shows_why(night: Night, error: Exception):
    """The pause holds nothing up, since no job is live: it tells the reason, and goes with it."""
    assert not close(night, Down(error))
    assert str(error) == night.batch.paused

    assert close(night, now=night.now + 4000)
    assert night.batch.paused is None


def test_a_retry_queues_nothing_when_the_marker_cannot_be_taken_away(night: Night):
    """Rather no retry than a marker that is not true."""
    close(night)
    with (
        pytest.raises(Refused),
        closing.reopened(night.ledger, Down(DENIED), night.batch, now=night.now, patience=HASTY),
    ):
        requeue(night, "r3")

    assert (True, 0) == (night.batch.is_done, night.batch.live)
    assert has_marker(night)
