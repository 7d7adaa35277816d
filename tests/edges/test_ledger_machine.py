"""The ledger driven at random, on both databases, and held against a small model of the transition table.

Workers read jobs and apply what they decided much later, twice, or not at all; messages come doubled, late and forged;
people pause, cancel and retry in between. After every step the books must balance and every job must stand where the
model says. A failing example prints the steps that lead to it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete, select

from imagejobs import moves
from imagejobs.errors import Cause
from imagejobs.job import Batch, Job, Selection, Spec, SpecText
from imagejobs.ledger import Ledger
from imagejobs.ledger.rows import job_of, job_query
from imagejobs.ledger.tables import attempts, batches, jobs, metadata, orphans
from imagejobs.moves import Look, Move
from imagejobs.states import FINAL, State, is_allowed
from tests.desk import images_of
from tests.fuzz.budget import examples
from tests.ledger_books import assert_books_balance

ACCOUNTS = ("ours", "theirs")
MOST_JOBS = 12  # few enough that several things happen to each
KEEP = 300.0  # how long an output can be fetched
LEASE = 60.0  # how long a message or a lease is waited for
Wish = Callable[[Job, "LedgerMachine"], Move]


@dataclass
class Standing:
    """What the model knows of one job."""

    batch: str
    state: State = State.QUEUED
    attempt: int = 0
    tries_left: int = 1
    hinted: bool = False
    unwanted: bool = False

    def go(self, *targets: State) -> None:
        """Walk along the table; a step that it does not have is a fault of the model or of the ledger."""
        for target in targets:
            assert is_allowed(self.state, target), (self.state, target)
            self.state, self.hinted = target, False


def _counts(job: Job) -> bool:
    """A try is used up only where one more is left: otherwise the worker gives up. See `worker.settle`."""
    return job.tries_left > 1


def _accepted(job: Job, machine: LedgerMachine) -> Move:
    return moves.accepted(job, prediction_id=machine.prediction(), at=machine.now, look_at=machine.now + 2)


def _output(job: Job) -> list[str]:
    return [f"https://outputs/{index}.png" for index in range(job.outputs)]


def _answered(job: Job, machine: LedgerMachine) -> Move:
    now = machine.now
    return moves.answered(job, output=_output(job), at=now, expires_at=now + KEEP, resend_at=now + LEASE)


def _finished(job: Job, machine: LedgerMachine) -> Move:
    now = machine.now
    times = {"completed_at": now, "expires_at": now + KEEP, "resend_at": now + LEASE}
    return moves.finished(job, output=_output(job), predict_time_s=1.5, **times)


def _refused(job: Job, machine: LedgerMachine) -> Move:
    counted = _counts(job)
    cause = Cause.TRANSIENT if counted else Cause.RATE_LIMITED
    return moves.refused(job, cause=cause, error="no room", due_at=machine.now + 1, counted=counted)


def _generate_again(job: Job, machine: LedgerMachine) -> Move:
    if not _counts(job):
        return _failed(job, machine)
    return moves.generate_again(job, cause=Cause.EXPIRED, error="gone", due_at=machine.now)


def _failed(job: Job, machine: LedgerMachine) -> Move:
    return moves.gave_up(job, cause=Cause.UNKNOWN_OUTCOME, error=f"odd {job.id}", at=machine.now)


def _failed_short(job: Job, machine: LedgerMachine) -> Move:
    return moves.gave_up(
        job, cause=Cause.SHORT, error="short", at=machine.now, images=images_of(job)[1:], is_copied=True
    )


WISHES: dict[State, Sequence[Wish]] = {
    State.QUEUED: (lambda job, machine: moves.canceled(job, at=machine.now), _failed),
    State.SUBMITTING: (
        _accepted,
        _accepted,
        _answered,
        _refused,
        _failed,
        lambda job, machine: moves.not_sent(job, cause=Cause.TRANSIENT, error="no route", due_at=machine.now),
        lambda job, machine: moves.proven_absent(job, error="not there", due_at=machine.now),
        lambda job, machine: moves.assumed_absent(job, due_at=machine.now),
        lambda job, machine: moves.canceled(job, at=machine.now),
    ),
    State.RUNNING: (
        _finished,
        _finished,
        _generate_again,
        _failed,
        lambda job, machine: moves.canceled(job, at=machine.now),
    ),
    State.STORING: (
        lambda job, _machine: moves.stored(job, images=images_of(job)),
        _generate_again,
        _failed,
        _failed_short,
    ),
}
DECIDABLE = tuple(WISHES)
CHOICES = st.lists(
    st.sampled_from([0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]), min_size=1, max_size=5
)  # mostly as it should go


class LedgerMachine(RuleBasedStateMachine):
    """One ledger, emptied for each example."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self.ledger = ledger
        self.now = 1000.0
        self.standing: dict[int, Standing] = {}
        self.batches: dict[str, list[int]] = {}
        self.readings: list[Job] = []
        self.closers: list[Batch] = []
        self.wishes: list[Move | Look] = []
        self.predictions: dict[str, tuple[int, int]] = {}
        self.stray: set[str] = set()
        self.numbers = itertools.count(1)

    @initialize()
    def empty(self) -> None:
        with self.ledger.database.write() as connection:
            for table in metadata.sorted_tables:
                connection.execute(delete(table))
        for account in (ACCOUNTS[0], *ACCOUNTS):
            self.submit(rows=2, outputs=2, account=account, max_tries=3, priority=0, is_soon=True, is_open=True)

    def prediction(self) -> str:
        """A new id, and at every seventh call one that is known already."""
        number = next(self.numbers)
        known = sorted(self.predictions)
        return known[number % len(known)] if known and number % 7 == 0 else f"p{number}"

    # What is asked of the ledger.

    @rule(
        rows=st.integers(1, 3),
        outputs=st.integers(1, 2),
        account=st.sampled_from(ACCOUNTS),
        max_tries=st.integers(1, 3),
        priority=st.integers(0, 1),
        is_soon=st.booleans(),
        is_open=st.booleans(),
    )
    @precondition(lambda self: len(self.standing) < MOST_JOBS)
    def submit(  # noqa: PLR0917 - Hypothesis names them
        self, rows: int, outputs: int, account: str, max_tries: int, priority: int, is_soon: bool, is_open: bool
    ) -> None:
        key = f"b{next(self.numbers)}"
        facts = {"account": account, "store": "x", "rows_digest": "0" * 64, "priority": priority}
        batch = self.ledger.batches.create(
            key, facts={**facts, "not_before": self.now + (0 if is_soon else 50)}, now=self.now
        )
        assert batch is not None
        assert self.ledger.batches.create(key, facts=facts, now=self.now) is None
        specs = [
            Spec(id=f"r{n}", line=n, version="o/m:v", input={"seed": n}, outputs=outputs) for n in range(1, rows + 1)
        ]
        self.ledger.batches.add(batch.id, [SpecText.of(spec) for spec in specs], max_tries=max_tries, now=self.now)
        self.batches[key] = [row["id"] for row in self.ledger.views.job_rows(batch.id)]
        self.standing |= {job: Standing(batch=key, tries_left=max_tries) for job in self.batches[key]}
        if is_open:
            self.ledger.batches.open(batch.id, now=self.now)

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

    @rule(seconds=st.sampled_from([1.0, 30.0, 70.0, 400.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(account=st.sampled_from(ACCOUNTS), places=st.integers(1, 5), claim=st.booleans())
    def take(self, account: str, places: int, claim: bool) -> None:
        owners = {batch.key: batch for batch in self.ledger.batches.all()}
        due = self._due()
        taken = self.ledger.turns.take(account, places=places, now=self.now, resend_at=self.now + LEASE)

        assert len(taken) == len(set(taken)) <= places
        for job in taken:
            batch = owners[self.standing[job].batch]
            assert (account, None) == (batch.account, batch.paused)
            assert batch.opened_at is not None
            assert batch.not_before <= self.now
            assert job in due
            self.standing[job].hinted = True
        if claim:
            self._claim(taken, account)

    @rule(account=st.sampled_from(ACCOUNTS))
    def take_probes(self, account: str) -> None:
        owners = {batch.key: batch for batch in self.ledger.batches.all()}
        due = self._due()
        taken = self.ledger.turns.take_probes(account, now=self.now, resend_at=self.now + LEASE)

        probed = [owners[self.standing[job].batch] for job in taken]
        assert len(probed) == len({batch.key for batch in probed})
        for job, batch in zip(taken, probed, strict=True):
            assert account == batch.account
            assert batch.paused_kind in ("auth_billing", "storage", "breaker")
            assert job in due
            self.standing[job].hinted = True

    @rule(data=st.data(), account=st.sampled_from(ACCOUNTS))
    @precondition(lambda self: self.standing)
    def claim(self, data: st.DataObject, account: str) -> None:
        ids = data.draw(st.lists(st.sampled_from(sorted(self.standing)), min_size=1, max_size=6))
        self._claim([*ids, 999_999_999], account)

    def _claim(self, ids: Sequence[int], account: str) -> None:
        query = select(jobs.c.id, batches.c.account, batches.c.paused, batches.c.probe_job)
        with self.ledger.database.read() as connection:
            rows = connection.execute(query.join(batches, batches.c.id == jobs.c.batch_id)).all()
        sendable = {
            row.id for row in rows if row.account == account and (row.paused is None or row.probe_job == row.id)
        }
        waiting = {job for job, at in self.standing.items() if at.state is State.QUEUED and at.hinted}
        expected = sorted(sendable & waiting & set(ids))

        claimed = self.ledger.jobs.claim(ids, account=account, now=self.now, resolve_at=self.now + LEASE)

        assert expected == [job.id for job in claimed]
        for job in claimed:
            self.standing[job.id].go(State.SUBMITTING)
            self.standing[job.id].attempt += 1
        self.readings += claimed

    @rule(data=st.data())
    @precondition(lambda self: self.standing)
    def read(self, data: st.DataObject) -> None:
        self.readings.append(self._read(data.draw(st.sampled_from(sorted(self.standing)))))

    @rule(data=st.data(), count=st.integers(1, 4), fresh=st.booleans())
    @precondition(lambda self: self.standing)
    def decide(self, data: st.DataObject, count: int, fresh: bool) -> None:
        """Decide on readings, some of them old, and apply it all at once; it may all be applied again later."""
        if fresh:
            ids = data.draw(st.lists(st.sampled_from(sorted(self.standing)), min_size=1, max_size=count))
            self.readings += [self._read(job) for job in ids]
        known = [job for job in self.readings if job.state in DECIDABLE][-20:]
        if not known:
            return
        chosen = known[-count:] if fresh else data.draw(st.lists(st.sampled_from(known), min_size=1, max_size=count))
        wishes: list[Move | Look] = []
        for job in chosen:
            if data.draw(st.integers(0, 9)) == 0:
                wishes.append(moves.look_again(job, due_at=self.now + 5, copy_failed=job.state is State.STORING))
            else:
                wishes.append(data.draw(st.sampled_from(WISHES[job.state]))(job, self))
        self._apply(wishes)

    @rule(steps=st.integers(1, 3), choices=CHOICES)
    def work_on(self, steps: int, choices: list[int]) -> None:
        """Hypothesis leaves some rules out of each example: of these two, seldom both."""
        self.work(steps, choices)

    @rule(steps=st.integers(1, 3), choices=CHOICES)
    def work(self, steps: int, choices: list[int]) -> None:
        """Every job a stage on, or more; choice 0 is how it should go. So that examples get far."""
        for _ in range(steps):
            for account in ACCOUNTS:
                self.take(account, places=3, claim=False)
            for account in ACCOUNTS:
                self._claim(sorted(self.standing), account)
            now = [self._read(job) for job in self.standing]
            self.readings += now
            flying = [job for job in now if job.state in DECIDABLE[1:]]
            options = [WISHES[job.state] for job in flying]
            chosen = [wishes[choice % len(wishes)] for wishes, choice in zip(options, itertools.cycle(choices))]
            self._apply([wish(job, self) for wish, job in zip(chosen, flying, strict=True)])

    @rule(data=st.data())
    @precondition(lambda self: self.wishes)
    def apply_again(self, data: st.DataObject) -> None:
        """The same decisions once more, late and in another order."""
        self._apply(data.draw(st.lists(st.sampled_from(self.wishes[-12:]), min_size=1, max_size=4)))

    @rule(data=st.data(), other=st.sampled_from(DECIDABLE), age=st.sampled_from([-1, 1]))
    @precondition(lambda self: self.standing)
    def forge(self, data: st.DataObject, other: State, age: int) -> None:
        """Decisions on jobs that were never read so: each from another attempt, and from a state out of thin air."""
        for job in map(self._read, tuple(self.standing)):
            same = job.state if job.state in DECIDABLE else other
            for state, attempt in {(same, job.attempt + age), (other, job.attempt + age), (other, job.attempt)}:
                if (state, attempt) != (job.state, job.attempt):
                    forged = replace(job, state=state, attempt=attempt)
                    self._apply([data.draw(st.sampled_from(WISHES[state]))(forged, self)])

    def _apply(self, wishes: Sequence[Move | Look]) -> None:
        expected = self._foretell(wishes)
        granted = self.ledger.jobs.apply(wishes, now=self.now)
        self.wishes += wishes

        assert expected == [(move.job_id, move.source, move.target) for move in granted]

    def _foretell(self, wishes: Sequence[Move | Look]) -> list[tuple[int, State, State]]:
        """What must be granted, in order of the jobs; the model moves along."""
        expected: list[tuple[int, State, State]] = []
        moved: set[int] = set()
        for wish in sorted(wishes, key=lambda one: one.job_id):
            at = self.standing.get(wish.job_id)
            source = wish.state if isinstance(wish, Look) else wish.source
            if at is None or wish.job_id in moved or (source, wish.attempt) != (at.state, at.attempt):
                continue
            if isinstance(wish, Look):
                moved.add(wish.job_id)
                at.hinted = wish.hinted
                continue
            prediction = wish.record.get("prediction_id")
            if prediction in self.predictions or (wish.counted and at.tries_left <= 1):
                continue
            moved.add(wish.job_id)
            if prediction is not None:
                self.predictions[prediction] = (wish.job_id, wish.attempt)
            expected.append((wish.job_id, at.state, wish.target))
            at.go(wish.target)
            at.hinted = wish.hinted
            at.tries_left -= wish.counted
            if wish.target is State.QUEUED and at.unwanted:
                expected.append((wish.job_id, State.QUEUED, State.CANCELED))
                at.go(State.CANCELED)
        return expected

    @rule(account=st.sampled_from(ACCOUNTS), limit=st.integers(1, 4), claim=st.booleans())
    def take_copies(self, account: str, limit: int, claim: bool) -> None:
        taken = self.ledger.turns.take_copies(account, limit=limit, now=self.now, resend_at=self.now + LEASE)
        for job in taken:
            assert State.STORING is self.standing[job].state
            self.standing[job].hinted = True
        if not claim:
            return
        leased = self.ledger.jobs.claim_copies(taken, account=account, lease_until=self.now + LEASE)
        assert sorted(taken) == [job.id for job in leased]
        for job in leased:
            self.standing[job.id].hinted = False
        self.readings += leased
        assert [] == self.ledger.jobs.claim_copies(taken, account=account, lease_until=self.now + LEASE)

    @rule(data=st.data())
    @precondition(lambda self: self.standing)
    def give_back(self, data: st.DataObject) -> None:
        ids = data.draw(st.lists(st.sampled_from(sorted(self.standing)), max_size=4))
        self.ledger.turns.give_back(ids, now=self.now)
        for job in ids:
            if self.standing[job].state is State.QUEUED:
                self.standing[job].hinted = False

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
        is_new = prediction not in self.predictions and prediction not in self.stray
        fits = at is not None and (State.QUEUED, job.attempt) == (at.state, at.attempt) and is_new

        assert fits is self.ledger.strays.adopt(job, prediction_id=prediction, now=self.now, look_at=self.now)
        if fits and at is not None:
            at.go(State.SUBMITTING, State.RUNNING)
            at.attempt += 1
            self.predictions[prediction] = (job.id, at.attempt)
        elif at is not None:
            assert is_new is self.ledger.strays.count(job, prediction_id=prediction, now=self.now)
            self.stray |= {prediction} if is_new else set()

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
        self._apply(
            [(_failed_short if copied and job.state is State.STORING else _failed)(job, self) for job in flying]
        )
        self._retry(batch, (State.FAILED,))
        late = [job for job in flying if job.state in (State.RUNNING, State.STORING)]
        self._apply([_generate_again(job, self) for job in late])

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

    # How it is looked at.

    def _some_batch(self, data: st.DataObject) -> Batch:
        batch = self.ledger.batches.get(data.draw(st.sampled_from(sorted(self.batches))))
        assert batch is not None
        return batch

    def _read(self, job_id: int) -> Job:
        with self.ledger.database.read() as connection:
            return job_of(connection.execute(job_query().where(jobs.c.id == job_id)).one())

    def _rows(self) -> list[dict[str, Any]]:
        with self.ledger.database.read() as connection:
            return [dict(row._mapping) for row in connection.execute(select(jobs))]

    def _due(self) -> set[int]:
        """Queued jobs whose time has come and that no message names."""
        waiting = {job for job, at in self.standing.items() if at.state is State.QUEUED and not at.hinted}
        return waiting & {row["id"] for row in self._rows() if row["due_at"] <= self.now}


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
