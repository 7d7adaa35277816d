"""The ledger driven at random, on both databases, and held against a small model of the transition table.

Workers read jobs and apply what they decided much later, twice, or not at all; messages come doubled, late and forged;
people pause, cancel and retry in between. After every step the books must balance and every job must stand where the
model says. A failing example prints the steps that lead to it.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select

from imagejobs.job import Batch, Selection
from imagejobs.ledger import Ledger
from imagejobs.ledger.tables import attempts, orphans
from imagejobs.states import FINAL, State
from tests.edges.ledger_model import ACCOUNTS, DECIDABLE, LEASE, failed, failed_short, generate_again
from tests.edges.ledger_workers import WorkedLedger
from tests.fuzz.budget import examples
from tests.ledger_books import assert_books_balance


class LedgerMachine(WorkedLedger):
    """And what people, sweeps and closers do to it."""

    @rule(everything=st.booleans())
    def forget(self, everything: bool) -> None:
        overdue = {row["id"] for row in self._rows() if everything or row["due_at"] <= self.now}
        forgettable = (State.QUEUED, State.STORING) if everything else (State.QUEUED,)
        lost = [job for job in overdue if self.standing[job].hinted and self.standing[job].state in forgettable]
        turns = self.ledger.turns

        forgotten = turns.forget_all(now=self.now) if everything else turns.forget_overdue(now=self.now)

        assert len(lost) == forgotten
        for job in lost:
            self.standing[job].hinted = False

    @rule(data=st.data(), known=st.booleans())
    @precondition(lambda self: self.readings)
    def adopt(self, data: st.DataObject, known: bool) -> None:
        """An orphan turns up in a sweep; where two sweeps see it, its prediction may belong to somebody already."""
        queued = [job for job, at in self.standing.items() if at.state is State.QUEUED]
        fresh = [self._read(job) for job in queued if known]
        job = data.draw(st.sampled_from(fresh or self.readings[-20:]))
        ids = sorted({*self.predictions, *self.stray}) if known else []
        prediction = data.draw(st.sampled_from(ids)) if ids else f"p{next(self.numbers)}"
        at = self.standing.get(job.id)
        at = None if at is None or at.batch_id != job.batch_id else at  # the id may be another job's by now
        batch = None if at is None else self.ledger.batches.get(at.batch)
        was_opened = batch is not None and batch.opened_at is not None  # else nothing of it was ever sent
        is_new = was_opened and prediction not in self.predictions and prediction not in self.stray
        fits = at is not None and (State.QUEUED, job.attempt) == (at.state, at.attempt) and is_new

        assert fits is self.ledger.strays.adopt(job, prediction_id=prediction, now=self.now, look_at=self.now)
        if fits and at is not None:
            at.go(State.SUBMITTING, State.RUNNING)
            at.attempt += 1
            self.predictions[prediction] = (job.id, at.attempt)
        elif at is not None:
            assert is_new is self.ledger.strays.count(job, prediction_id=prediction, now=self.now)
            self.stray |= {prediction} if is_new else set()

    @rule(data=st.data())
    @precondition(lambda self: self.batches)
    def open(self, data: st.DataObject) -> None:
        self.ledger.batches.open(self._some_batch(data).id, now=self.now)

    @rule(data=st.data())
    @precondition(lambda self: self.batches)
    def discard(self, data: st.DataObject) -> None:
        batch = self._some_batch(data)
        self.ledger.batches.discard(batch.id)
        if batch.opened_at is None:
            for job in self.batches.pop(batch.key):
                del self.standing[job]

    @rule(data=st.data(), end_it=st.booleans())
    @precondition(lambda self: self.batches)
    def cancel(self, data: st.DataObject, end_it: bool) -> None:
        self._cancel(self._some_batch(data), end_it=end_it)

    def _cancel(self, batch: Batch, *, end_it: bool) -> None:
        canceled = self.ledger.steering.cancel_queued(batch.id, now=self.now)
        expected = [job for job in self.batches[batch.key] if self.standing[job].state is State.QUEUED]
        assert len(expected) == canceled
        for job in self.batches[batch.key]:
            at = self.standing[job]
            if at.state is State.QUEUED:
                at.go(State.CANCELED)
            elif at.state not in FINAL:
                at.unwanted = True
        if end_it:
            flying = [self.standing[job].state for job in self.batches[batch.key]]
            expected_count = flying.count(State.SUBMITTING) + flying.count(State.RUNNING)
            assert expected_count == self.ledger.steering.ask_to_cancel(batch.id)

    @rule(data=st.data(), states=st.sampled_from([(State.FAILED,), (State.CANCELED,), (State.FAILED, State.CANCELED)]))
    @precondition(lambda self: self.batches)
    def retry(self, data: st.DataObject, states: tuple[State, ...]) -> None:
        self._retry(self._some_batch(data), states)

    @rule(data=st.data(), steps=st.integers(0, 2), cancel=st.booleans(), copied=st.booleans())
    @precondition(lambda self: self.batches)
    def give_up_and_retry(self, data: st.DataObject, steps: int, cancel: bool, copied: bool) -> None:
        """A whole batch fails under way and is retried; then what was decided on it before comes in, too late."""
        self.work(steps, [0])
        self._give_up_and_retry(self._some_batch(data), cancel=cancel, copied=copied)

    def _give_up_and_retry(self, batch: Batch, *, cancel: bool, copied: bool) -> None:
        if cancel:
            self._cancel(batch, end_it=True)
        before = [self._read(job) for job in self.batches[batch.key]]
        flying = [job for job in before if job.state in DECIDABLE[1:]]
        self._apply([(failed_short if copied and job.state is State.STORING else failed)(job, self) for job in flying])
        self._retry(batch, (State.FAILED,))
        late = [job for job in flying if job.state in (State.RUNNING, State.STORING)]
        self._apply([generate_again(job, self) for job in late])

    def _retry(self, batch: Batch, states: tuple[State, ...]) -> None:
        chosen = [job for job in self.batches[batch.key] if self.standing[job].state in states]
        readings = {job: self._read(job) for job in chosen}
        fetchable = {job for job, at in readings.items() if at.output and (at.expires_at or 0) > self.now}

        done = self.ledger.steering.retry(batch.id, Selection(states=states), max_tries=2, now=self.now)

        assert (len(fetchable), len(chosen) - len(fetchable)) == done
        for job in chosen:
            at = self.standing[job]
            at.go(State.STORING if job in fetchable else State.QUEUED)
            at.tries_left = 1 if job in fetchable else 2
            at.unwanted = False

    @rule(data=st.data(), kind=st.sampled_from(["user", "auth_billing", "storage"]))
    @precondition(lambda self: self.batches)
    def pause(self, data: st.DataObject, kind: str) -> None:
        batch = self._some_batch(data)
        self.take(batch.account, places=3, claim=False)  # their messages arrive during the pause
        may = batch.closed_at is None and (kind == "user" or batch.paused is None)
        assert may is self.ledger.batches.pause(batch.id, kind=kind, reason="because", now=self.now)
        self._claim(sorted(self.standing), batch.account)
        self.wait(7.0)
        self.take_probes(batch.account)
        self._claim(sorted(self.standing), batch.account)

    @rule(data=st.data())
    @precondition(lambda self: self.batches)
    def resume(self, data: st.DataObject) -> None:
        batch = self._some_batch(data)
        assert (batch.paused is not None) is self.ledger.batches.resume(batch.id)

    @rule(account=st.sampled_from(ACCOUNTS))
    def start_closing(self, account: str) -> None:
        for batch in self.ledger.batches.unfinished(account):
            began = self.ledger.batches.start_closing(batch.id, now=self.now, lease_until=self.now + LEASE)
            assert not (began and batch.live)
            self.closers += [batch] if began else []

    @rule(account=st.sampled_from(ACCOUNTS))
    def close_across_a_retry(self, account: str) -> None:
        """A closer is overtaken by a retry whose jobs have all ended again when it comes back."""
        self.start_closing(account)
        for before in self.closers[-2:]:
            self._retry(before, (State.FAILED, State.CANCELED))
            self._cancel(before, end_it=False)
            self._finish_closing(before)

    @rule(data=st.data())
    @precondition(lambda self: self.closers)
    def finish_closing(self, data: st.DataObject) -> None:
        """However late the closer comes back: a retry in between wins."""
        self._finish_closing(data.draw(st.sampled_from(self.closers)))

    def _finish_closing(self, before: Batch) -> None:
        batch = self.ledger.batches.get(before.key)
        assert batch is not None
        may = batch.closed_at is None and batch.generation == before.generation and batch.live == 0
        assert may is self.ledger.batches.finish_closing(before, now=self.now)

    # What must hold after every step.

    @invariant()
    def books_balance(self) -> None:
        assert_books_balance(self.ledger)

    @invariant()
    def every_job_stands_where_the_model_says(self) -> None:
        found = {row["id"]: row for row in self._rows()}
        assert sorted(self.standing) == sorted(found)
        for job, at in self.standing.items():
            row = found[job]
            kept = (row["state"], row["attempt"], row["tries_left"], bool(row["hinted"]), bool(row["cancel_requested"]))
            assert (at.state, at.attempt, at.tries_left, at.hinted, at.unwanted) == kept
            assert at.tries_left >= 1

    @invariant()
    def a_prediction_belongs_to_one_attempt(self) -> None:
        with self.ledger.database.read() as connection:
            query = select(attempts.c["prediction_id", "job_id", "number"]).where(attempts.c.prediction_id.is_not(None))
            known = {row.prediction_id: (row.job_id, row.number) for row in connection.execute(query)}
            strays = set(connection.execute(select(orphans.c.prediction_id)).scalars())
        assert self.predictions == known
        assert self.stray == strays


def test_the_ledger_obeys_the_table_whatever_comes(database_url: str):
    """No order of claims, moves, messages, orphans and steering unbalances the books or leaves the table."""
    with Ledger(database_url) as ledger:
        run_state_machine_as_test(
            lambda: LedgerMachine(ledger),
            settings=settings(
                max_examples=examples(30 if ledger.database.is_sqlite else 12),  # half a minute each
                stateful_step_count=50,
                suppress_health_check=list(HealthCheck),
            ),
        )
