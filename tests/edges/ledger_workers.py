"""What workers do to the ledger at random: they take jobs, claim them, decide, and apply it late, twice or never."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
)
from sqlalchemy import delete, select

from imagejobs import moves
from imagejobs.job import Batch, Job, Spec, SpecText
from imagejobs.ledger import Ledger
from imagejobs.ledger.rows import job_of, job_query
from imagejobs.ledger.tables import batches, jobs, metadata
from imagejobs.moves import Look, Move
from imagejobs.states import State
from tests.edges.ledger_model import ACCOUNTS, CHOICES, DECIDABLE, LEASE, MOST_JOBS, WISHES, Standing


class WorkedLedger(RuleBasedStateMachine):
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
        self.ledger.batches.add(batch.id, [SpecText.of(spec) for spec in specs], max_tries=max_tries)
        self.batches[key] = [row["id"] for row in self.ledger.views.job_rows(batch.id)]
        self.standing |= {
            job: Standing(batch=key, batch_id=batch.id, tries_left=max_tries) for job in self.batches[key]
        }
        if is_open:
            self.ledger.batches.open(batch.id, now=self.now)

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
            if isinstance(wish, Move) and wish.batch_id != at.batch_id:
                continue  # the id is another job's by now
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
        self.ledger.turns.give_back(ids)
        for job in ids:
            if self.standing[job].state is State.QUEUED:
                self.standing[job].hinted = False

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
