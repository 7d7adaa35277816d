"""Recording a batch on real databases: once, whole, or not at all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imagejobs.errors import BadInput, BadSetting, Complaint
from imagejobs.job import Spec, SpecText
from imagejobs.ledger import Ledger
from imagejobs.queues import TEND, Broker
from imagejobs.settings import Settings
from imagejobs.states import State
from producer import get_batch, submit_batch
from producer.enqueue import CHUNK
from tests.commandline import small_rows
from tests.servers.ports import free_port


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """A home of its own, and no Redis."""
    return Settings.read({"IMAGEJOBS_HOME": str(tmp_path / "home"), "DATABASE_URL": database_url})


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    """The same database, to look into."""
    with Ledger(settings.database) as ledger:
        yield ledger


def test_the_same_rows_are_the_same_batch(settings: Settings, ledger: Ledger) -> None:
    """A pipeline may be run again."""
    first = submit_batch(small_rows(3), batch="night", settings=settings)
    second = submit_batch(small_rows(3), batch="night", settings=settings)

    assert first == second
    assert [(3, 3)] == [(batch.total, batch.counts[State.QUEUED]) for batch in ledger.batches.all()]


def test_a_batch_larger_than_a_chunk_is_written_whole(settings: Settings, ledger: Ledger) -> None:
    """In the order of the input."""
    rows = small_rows(CHUNK + 2)
    batch = submit_batch(rows, settings=settings).status()

    assert [row["id"] for row in rows] == [row["row_id"] for row in ledger.views.job_rows(batch.id)]


def test_other_rows_under_the_same_key_are_refused_with_the_difference(settings: Settings) -> None:
    """Which ids were added, removed and changed: the first few, and how many."""
    submit_batch(small_rows(4), batch="night", settings=settings)
    rows = small_rows(12)[1:]
    rows[0]["prompt"] = "another"

    with pytest.raises(Complaint) as refused:
        submit_batch(rows, batch="night", settings=settings)

    difference = "8 added (r4, r5, r6, r7, r8, …), 1 removed (r0), 1 changed (r1)"
    assert difference in str(refused.value)


def test_another_order_is_another_batch(settings: Settings) -> None:
    """And is said to be just that."""
    submit_batch(small_rows(2), batch="night", settings=settings)

    with pytest.raises(Complaint, match="the same ones in another order"):
        submit_batch(small_rows(2)[::-1], batch="night", settings=settings)


def test_what_a_dead_submit_left_is_written_again(settings: Settings, ledger: Ledger) -> None:
    """Its rows were never sent: they are discarded, not mixed with ours."""
    facts = {"account": settings.account_name, "store": "file:///x", "rows_digest": "dead"}
    half = ledger.batches.create("night", facts=facts, now=1.0)
    assert half is not None
    ledger.batches.add(half.id, [SpecText.of(Spec(id="stray", line=1, version="v", input={"p": 1}))], max_tries=1)

    batch = submit_batch(small_rows(2), batch="night", settings=settings).status()

    assert ["r0", "r1"] == [row["row_id"] for row in ledger.views.job_rows(batch.id)]


def test_two_submits_at_once_make_one_batch(settings: Settings, ledger: Ledger) -> None:
    """The later one waits, and finds it done."""
    made: list[Any] = []

    def submit() -> None:
        made.append(submit_batch(small_rows(500), batch="night", settings=settings))

    threads = [threading.Thread(target=submit) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 3 == len(made)
    assert [500] == [batch.total for batch in ledger.batches.all()]


def test_one_bad_row_and_nothing_is_recorded(settings: Settings, ledger: Ledger) -> None:
    """Not even the batch."""
    with pytest.raises(BadInput, match="line 2"):
        submit_batch([*small_rows(1), {"prompt": "x", "width": 1}], settings=settings)

    assert [] == ledger.batches.all()


def test_rows_that_break_off_leave_nothing(settings: Settings, ledger: Ledger) -> None:
    """A generator's own exception passes through."""

    def rows() -> Iterator[dict[str, Any]]:
        yield from small_rows(2)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        submit_batch(rows(), settings=settings)

    assert [] == ledger.batches.all()


def test_a_key_of_another_account_is_refused(settings: Settings) -> None:
    """Its jobs would be paid for by somebody else."""
    submit_batch(small_rows(1), batch="night", settings=settings)
    other = settings.model_copy(update={"account": "other"})

    with pytest.raises(Complaint, match=r"a batch of account api.replicate.com, not of other"):
        submit_batch(small_rows(1), batch="night", settings=other)


def test_a_batch_begun_in_another_store_is_refused(settings: Settings, tmp_path: Path) -> None:
    """Half a batch in each of two stores is no batch."""
    submit_batch(small_rows(1), batch="night", settings=settings)
    other = settings.model_copy(update={"store": (tmp_path / "elsewhere").as_uri()})

    with pytest.raises(Complaint, match="set IMAGEJOBS_STORE"):
        submit_batch(small_rows(1), batch="night", settings=other)


def test_wishes_are_recorded(settings: Settings) -> None:
    """Weight, priority and the moment before which nothing is sent."""
    batch = submit_batch(small_rows(1), settings=settings, weight=2.0, priority=3, not_before=4e9).status()

    assert (2.0, 3, 4e9) == (batch.weight, batch.priority, batch.not_before)


def test_redis_that_does_not_answer_is_found_before_anything_is_recorded(settings: Settings, ledger: Ledger) -> None:
    """Where one is named, it is meant."""
    deaf = settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}/0"})

    with pytest.raises(BadSetting, match="REDIS_URL"):
        submit_batch(small_rows(1), settings=deaf)

    assert [] == ledger.batches.all()


def test_with_redis_the_first_jobs_are_sent_for_at_once(settings: Settings, ledger: Ledger, redis_url: str) -> None:
    """A worker need not look for them; and one that rests is told that there is work."""
    submit_batch(small_rows(3), settings=settings.model_copy(update={"redis_url": redis_url}))
    with closing(Broker(redis_url, account=settings.account_name)) as broker:
        told = broker.redis.llen(broker.prefix + TEND)

    assert (3, 1) == (ledger.turns.outstanding(settings.account_name), told)


def test_a_batch_is_found_by_its_key(settings: Settings) -> None:
    """From another process, another day."""
    made = submit_batch(small_rows(2), batch="night", settings=settings)

    assert made == get_batch("night", settings=settings)
    with pytest.raises(Complaint, match="is it night"):
        get_batch("nihgt", settings=settings)


def test_waiting_has_an_end(settings: Settings) -> None:
    """And names what is not finished."""
    batch = submit_batch(small_rows(2), batch="night", settings=settings)

    with pytest.raises(TimeoutError, match="2 jobs of night are not finished"):
        batch.wait(timeout_seconds=0)


def test_a_handle_is_a_plain_value(settings: Settings) -> None:
    """No connection in it: it may be kept, compared, copied."""
    batch = submit_batch(small_rows(1), batch="night", settings=settings)

    assert batch == replace(batch)
