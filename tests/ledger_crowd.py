"""A crowd on one ledger: everything that workers, sweeps, feeds and people do there, at random and all at once."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from imagejobs import moves
from imagejobs.errors import Cause
from imagejobs.job import Job, Selection, Spec, SpecText
from imagejobs.ledger import Ledger
from imagejobs.moves import Look, Move
from imagejobs.states import State
from tests.desk import images_of

ACCOUNT = "crowd"
NOW = 1000.0
EXPIRY = 5000.0


@dataclass(frozen=True)
class Member:
    """One of the crowd, with dice of its own. Any error it meets is raised: nothing here may deadlock or be lost."""

    ledger: Ledger
    dice: random.Random

    def act(self, times: int) -> int:
        """Do that many things; returns how many moves were granted."""
        deeds: list[tuple[Callable[[], int], int]] = [
            (self.work, 12),
            (self.sweep, 4),
            (self.keep_house, 3),
            (self.steer, 2),
            (self.submit, 1),
            (self.close, 2),
        ]
        kinds, weights = zip(*deeds, strict=True)
        return sum(deed() for deed in self.dice.choices(kinds, weights, k=times))

    def work(self) -> int:
        """A worker's turn: claim, decide at once or from what was read long ago, apply it, maybe twice."""
        ids = self.ledger.turns.take(ACCOUNT, places=self.dice.randint(1, 20), now=NOW, resend_at=NOW + 60)
        self.dice.shuffle(ids)
        claimed = self.ledger.jobs.claim(ids, account=ACCOUNT, now=NOW, resolve_at=NOW)
        copies = self.ledger.turns.take_copies(ACCOUNT, limit=10, now=NOW, resend_at=NOW + 60)
        leased = self.ledger.jobs.claim_copies(copies, account=ACCOUNT, lease_until=NOW)
        return self._decide(claimed) + self._decide(leased)

    def sweep(self) -> int:
        """A sweep: whatever runs or is unknown, decided for in one transaction."""
        flying = self.ledger.views.jobs([flight.job_id for flight in self.ledger.views.flights(ACCOUNT)])
        running = [job for job in flying if job.state is State.RUNNING]
        found = [*running, *self.ledger.views.unknown(ACCOUNT, now=NOW)]
        for job in self.dice.sample(found, min(2, len(found))):
            prediction = f"stray-{self.dice.randint(1, 40)}"
            if not self.ledger.strays.adopt(job, prediction_id=prediction, now=NOW, look_at=NOW):
                self.ledger.strays.count(job, prediction_id=prediction, now=NOW)
        return self._decide(found)

    def keep_house(self) -> int:
        """Messages are taken for lost while they are acted upon."""
        turns = self.ledger.turns
        turns.take_probes(ACCOUNT, now=NOW + 1000, resend_at=NOW + 60)
        turns.give_back(turns.take(ACCOUNT, places=5, now=NOW, resend_at=NOW))
        return self.dice.choice((turns.forget_overdue, turns.forget_all))(now=NOW + 100) * 0

    def steer(self) -> int:
        """What people do, to any batch."""
        batch = self.dice.choice(self.ledger.batches.all())
        match self.dice.randrange(6):
            case 0:
                self.ledger.steering.cancel_queued(batch.id, now=NOW)
            case 1:
                self.ledger.steering.ask_to_cancel(batch.id)
            case 2:
                self.ledger.batches.pause(batch.id, kind="auth_billing", reason="so", now=NOW)
            case 3:
                self.ledger.batches.resume(batch.id)
            case _:
                both = Selection(states=(State.FAILED, State.CANCELED))
                self.ledger.steering.retry(batch.id, both, max_tries=3, now=NOW)
        return 0

    def submit(self) -> int:
        """A new batch; one in three submits dies before it is opened, and somebody discards what it left."""
        key = f"batch-{self.dice.getrandbits(60)}"
        batch = self.ledger.batches.create(key, facts={"account": ACCOUNT, "store": "x", "rows_digest": "d"}, now=NOW)
        assert batch is not None
        specs = [Spec(id=f"r{n}", line=n, version="o/m:v", input={"seed": n}, outputs=1) for n in range(1, 11)]
        self.ledger.batches.add(batch.id, [SpecText.of(spec) for spec in specs], max_tries=3)
        if self.dice.random() < 1 / 3:
            self.ledger.steering.cancel_queued(batch.id, now=NOW)
            self.ledger.batches.discard(batch.id)
        else:
            self.ledger.batches.open(batch.id, now=NOW)
        return 0

    def close(self) -> int:
        """Two closers may meet, and a retry may come between."""
        for batch in self.ledger.batches.unfinished(ACCOUNT):
            if self.ledger.batches.start_closing(batch.id, now=NOW, lease_until=NOW):
                self.ledger.batches.finish_closing(batch, now=NOW)
        return 0

    def _decide(self, found: list[Job]) -> int:
        wishes = [self._wish(job) for job in found]
        self.dice.shuffle(wishes)
        granted = len(self.ledger.jobs.apply(wishes, now=NOW))
        if self.dice.random() < 0.3:
            granted += len(self.ledger.jobs.apply(wishes, now=NOW))
        return granted

    def _wish(self, job: Job) -> Move | Look:
        roll = self.dice.random()
        if roll < 0.1:
            return moves.look_again(job, due_at=NOW)
        if roll < 0.2:
            return moves.gave_up(job, cause=Cause.INPUT, error=f"no {roll}", at=NOW)
        if roll < 0.3 and job.tries_left > 1 and job.state is not State.SUBMITTING:
            return moves.generate_again(job, cause=Cause.TRANSIENT, error=f"E{roll}", due_at=NOW)
        if job.state is State.SUBMITTING:
            return moves.accepted(job, prediction_id=self._prediction(job), at=NOW, look_at=NOW)
        if job.state is State.RUNNING:
            times = {"completed_at": NOW, "expires_at": EXPIRY, "resend_at": NOW}
            return moves.finished(job, output=["https://outputs/0.png"], predict_time_s=1.0, **times)
        return moves.stored(job, images=images_of(job))

    def _prediction(self, job: Job) -> str:
        """Its own; now and then one that several processes find at once and give to different twins."""
        is_twin = self.dice.random() < 0.2
        return f"twin-{self.dice.randint(1, 200)}" if is_twin else f"p-{job.id}-{job.attempt}"


def crowd(url: str, seed: int) -> int:
    """One process of the crowd."""
    with Ledger(url) as ledger:
        return Member(ledger, random.Random(seed)).act(60)
