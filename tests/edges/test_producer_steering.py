"""Steering by the command line's own functions, on real databases and a real folder: retry, pause, cancel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from imagejobs import moves
from imagejobs.edges.bucket import open_store
from imagejobs.edges.store import Store
from imagejobs.errors import BadSetting, Cause, Complaint
from imagejobs.job import Batch, Job
from imagejobs.layout import MARKER, file_key
from imagejobs.ledger import Ledger
from imagejobs.ledger.rows import job_of, job_query
from imagejobs.ledger.tables import jobs
from imagejobs.settings import Settings
from imagejobs.states import State
from producer import control, submit_batch
from producer.find import find_batch
from tests.commandline import small_rows

FAILURES = {"r0": Cause.TRANSIENT, "r1": Cause.TRANSIENT, "r2": Cause.SAFETY}


@dataclass
class Bench:
    """A batch `night` of four rows, three of which have failed."""

    settings: Settings
    ledger: Ledger
    store: Store

    @property
    def batch(self) -> Batch:
        """As it is now."""
        return find_batch(self.ledger, "night")

    def states(self) -> dict[str, str]:
        """By row."""
        return {row["row_id"]: row["state"] for row in self.ledger.views.job_rows(self.batch.id)}

    def job(self, row_id: str) -> Job:
        """One job as it is now."""
        with self.ledger.database.read() as connection:
            return job_of(connection.execute(job_query().where(jobs.c.row_id == row_id)).one())

    def claim(self) -> list[Job]:
        """Everything that is queued, in a worker's hands."""
        account, now = self.settings.account_name, self.ledger.database.now()
        ids = self.ledger.turns.take(account, places=10, now=now, resend_at=now + 60)
        return self.ledger.jobs.claim(ids, account=account, now=now, resolve_at=now + 60)


@pytest.fixture
def bench(tmp_path: Path, database_url: str) -> Iterator[Bench]:
    """Failed as a worker would have it fail."""
    settings = Settings.read({"IMAGEJOBS_HOME": str(tmp_path / "home"), "DATABASE_URL": database_url})
    submit_batch(small_rows(4), batch="night", settings=settings)
    with Ledger(settings.database) as ledger:
        bench = Bench(settings, ledger, open_store(settings.store_url))
        now = ledger.database.now()
        ledger.jobs.apply(
            [
                moves.gave_up(job, cause=FAILURES[job.row_id], error=f"no {job.row_id}", at=now)
                for job in bench.claim()
                if job.row_id in FAILURES
            ],
            now=now,
        )
        yield bench


def test_a_plan_says_what_it_costs(bench: Bench) -> None:
    """Nothing of these is at the provider any more, so all is paid."""
    plan = control.plan_retry(bench.ledger, bench.batch)

    assert (3, 0, 3) == (plan.count, plan.free, plan.paid)


def test_just_the_selection_is_queued_again(bench: Bench) -> None:
    """By cause here."""
    plan = control.plan_retry(bench.ledger, bench.batch, causes=[Cause.TRANSIENT])
    done = control.retry(bench.ledger, bench.settings, plan)

    assert control.Retried(copied=0, generated=2, is_sent=False) == done
    assert {"r0": "queued", "r1": "queued", "r2": "failed", "r3": "submitting"} == bench.states()


def test_rows_are_chosen_by_their_ids(bench: Bench) -> None:
    """And one that did not fail is left alone."""
    plan = control.plan_retry(bench.ledger, bench.batch, ids=["r2", "r3"])
    control.retry(bench.ledger, bench.settings, plan)

    assert ("queued", "submitting") == (bench.states()["r2"], bench.states()["r3"])


def test_what_fails_after_the_plan_was_shown_is_not_part_of_it(bench: Bench) -> None:
    """Nobody agreed to pay for it."""
    plan = control.plan_retry(bench.ledger, bench.batch, causes=[Cause.TRANSIENT])
    control.retry(bench.ledger, bench.settings, plan)
    later = bench.ledger.database.now() + 5
    bench.ledger.jobs.apply(
        [moves.gave_up(job, cause=Cause.TRANSIENT, error="again", at=later) for job in bench.claim()], now=later
    )

    assert control.Retried() == control.retry(bench.ledger, bench.settings, plan)


def test_what_was_shown_as_free_is_not_paid_for_when_it_expires_before_the_answer(bench: Bench) -> None:
    """A person may take an hour to say yes. The copy then fails as expired, by the one try that it is given."""
    now = bench.ledger.database.now()
    running = moves.accepted(bench.job("r3"), prediction_id="p-r3", at=now, look_at=now)
    bench.ledger.jobs.apply([running], now=now)
    times = {"completed_at": now, "expires_at": now + 600, "resend_at": now, "predict_time_s": 1.0}
    bench.ledger.jobs.apply([moves.finished(bench.job("r3"), output=["https://x/out-0.png"], **times)], now=now)
    gone = moves.gave_up(bench.job("r3"), cause=Cause.DOWNLOAD, error="cut off", at=now)
    bench.ledger.jobs.apply([gone], now=now)
    plan = control.plan_retry(bench.ledger, bench.batch, ids=["r3"])
    later = plan.made_at + 3600
    done = bench.ledger.steering.retry(bench.batch.id, plan.selection, max_tries=4, now=later, shown_at=plan.made_at)

    assert (1, 0) == (plan.free, plan.paid)
    assert (1, 0) == done
    assert (State.STORING, 1) == (bench.job("r3").state, bench.job("r3").tries_left)


def test_only_what_failed_long_ago_is_chosen_when_asked(bench: Bench) -> None:
    """All of it has just failed."""
    assert 0 == control.plan_retry(bench.ledger, bench.batch, older_than_seconds=3600).count


def test_the_marker_is_gone_when_jobs_are_live_again(bench: Bench) -> None:
    """A pipeline that waits for it must not read half a batch."""
    key = file_key("night", MARKER)
    bench.store.put(key, b"{}", content_type="application/json", sha256="0" * 64)
    control.retry(bench.ledger, bench.settings, control.plan_retry(bench.ledger, bench.batch))

    assert bench.store.stat(key) is None


def test_a_store_that_refuses_leaves_everything_as_it_was(bench: Bench, tmp_path: Path) -> None:
    """A marker that cannot be taken away would lie."""
    plan = control.plan_retry(bench.ledger, bench.batch)
    before = bench.states()
    (tmp_path / "home" / "batches").mkdir(parents=True, exist_ok=True)
    (tmp_path / "home" / "batches" / "night").write_text("a file in the folder's place")

    with pytest.raises(BadSetting, match="the store"):
        control.retry(bench.ledger, bench.settings, plan)

    assert before == bench.states()


def test_pause_and_resume(bench: Bench) -> None:
    """With the reason, for whoever looks at it."""
    control.pause(bench.ledger, bench.batch, reason="cheaper at midnight")
    paused = bench.batch.paused
    control.resume(bench.ledger, bench.settings, bench.batch)

    assert ("cheaper at midnight", None) == (paused, bench.batch.paused)


def test_what_is_not_paused_cannot_be_resumed(bench: Bench) -> None:
    """A person who thinks it is should know."""
    with pytest.raises(Complaint, match="night is not paused"):
        control.resume(bench.ledger, bench.settings, bench.batch)


def test_cancel_ends_what_is_queued_and_leaves_what_is_paid_for(bench: Bench) -> None:
    """What is in flight is asked to end only on demand."""
    control.retry(bench.ledger, bench.settings, control.plan_retry(bench.ledger, bench.batch))

    assert control.Canceled(queued=3, in_flight=0) == control.cancel(bench.ledger, bench.batch, with_flying=False)
    assert control.Canceled(queued=0, in_flight=1) == control.cancel(bench.ledger, bench.batch, with_flying=True)
    assert {State.CANCELED: 3, State.SUBMITTING: 1} == {name: n for name, n in bench.batch.counts.items() if n}


def test_canceled_jobs_are_retried_when_they_are_meant(bench: Bench) -> None:
    """A plain retry is for failures."""
    control.retry(bench.ledger, bench.settings, control.plan_retry(bench.ledger, bench.batch))
    control.cancel(bench.ledger, bench.batch, with_flying=False)

    assert 0 == control.plan_retry(bench.ledger, bench.batch).count
    assert 3 == control.plan_retry(bench.ledger, bench.batch, with_canceled=True).count


def test_a_batch_is_found_by_the_beginning_of_its_key(bench: Bench) -> None:
    """If there is only one."""
    submit_batch(small_rows(1), batch="morning-1", settings=bench.settings)
    submit_batch(small_rows(1), batch="morning-2", settings=bench.settings)

    assert "night" == find_batch(bench.ledger, "ni").key
    with pytest.raises(Complaint, match="2 batches begin with mor: morning-2, morning-1"):
        find_batch(bench.ledger, "mor")
    with pytest.raises(Complaint, match="no batch xyz; there are: morning-2, morning-1, night"):
        find_batch(bench.ledger, "xyz")


def test_a_retry_ends_the_pause_that_a_store_has_caused(bench: Bench) -> None:
    """Its marker was taken away, so the store works: the jobs need not wait for a probe to show it."""
    bench.ledger.batches.pause(bench.batch.id, kind="storage", reason="no room", now=bench.ledger.database.now())
    control.retry(bench.ledger, bench.settings, control.plan_retry(bench.ledger, bench.batch))

    assert bench.batch.paused is None


def test_resume_has_a_batch_closed_at_once(bench: Bench) -> None:
    """However long its closing was put off."""
    batches, now = bench.ledger.batches, bench.ledger.database.now()
    bench.ledger.jobs.apply([moves.gave_up(bench.job("r3"), cause=Cause.INPUT, error="no", at=now)], now=now)
    batches.put_off_closing(bench.batch.id, until=now + 600.0)
    batches.pause(bench.batch.id, kind="storage", reason="no room", now=now)
    put_off = batches.start_closing(bench.batch.id, now=now, lease_until=now + 60.0)
    control.resume(bench.ledger, bench.settings, bench.batch)

    assert (False, True) == (put_off, batches.start_closing(bench.batch.id, now=now, lease_until=now + 60.0))
