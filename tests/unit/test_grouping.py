"""Group commit: many callers, few transactions, and to each its own answer."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from sqlalchemy.exc import IntegrityError, OperationalError

from imagejobs import moves
from imagejobs.ledger.grouping import Change, GroupCommit
from imagejobs.moves import Move
from imagejobs.states import State
from tests.making import a_job
from tests.servers.waiting import eventually


def done(job_id: int) -> Move:
    """A move of that job."""
    return moves.accepted(a_job(id=job_id, state=State.SUBMITTING), prediction_id=f"p{job_id}", at=1.0, look_at=2.0)


class Ledger:
    """Writes down each transaction; the first one takes until `go`."""

    def __init__(self, refused: int | None = None, error: Exception | None = None) -> None:
        self.transactions: list[list[int]] = []
        self.go = threading.Event()
        self._refused, self._error = refused, error

    def write(self, changes: Sequence[Change], _now: float) -> list[Move]:
        """One transaction: all or nothing."""
        ids = [change.job_id for change in changes]
        self.transactions.append(ids)
        if len(self.transactions) == 1:
            assert self.go.wait(20)
        if self._error is not None and (self._refused is None or self._refused in ids):
            raise self._error
        return [change for change in changes if isinstance(change, Move)]


def together(ledger: Ledger, wishes: Sequence[Sequence[Move]]) -> list[Future[list[Move]]]:
    """The first wish is being written while all the others come in."""
    commit = GroupCommit(ledger.write)
    with ThreadPoolExecutor(len(wishes)) as pool:
        futures = [pool.submit(commit, wishes[0], 0.0)]
        eventually(lambda: ledger.transactions, what="the first transaction")
        for number, wish in enumerate(wishes[1:], start=1):
            futures.append(pool.submit(commit, wish, 0.0))
            eventually(lambda number=number: len(commit._waiting) == number, what="the next one waits")
        ledger.go.set()
    return futures


def test_who_waits_is_written_together_and_answered_alone():
    """One transaction for the first, one for all who came meanwhile."""
    ledger = Ledger()
    answers = together(ledger, [[done(1)], [done(2)], [done(3), done(4)], [done(5)]])

    assert [[1], [2, 3, 4, 5]] == ledger.transactions
    assert [[1], [2], [3, 4], [5]] == [[move.job_id for move in one.result()] for one in answers]


def test_two_wishes_for_one_job_are_two_transactions():
    """Each job is moved once in a transaction: the second must see what the first has left."""
    ledger = Ledger()
    together(ledger, [[done(1)], [done(2)], [done(3)], [done(2)], [done(4)]])

    assert [[1], [2, 3], [2, 4]] == ledger.transactions


def test_one_that_cannot_be_written_is_no_others_concern():
    """The group is taken apart, and only its caller hears of it."""
    ledger = Ledger(refused=3, error=IntegrityError("insert", None, Exception("twice")))
    _, second, third, fourth = together(ledger, [[done(1)], [done(2)], [done(3)], [done(4)]])

    assert [2, 4] == [second.result()[0].job_id, fourth.result()[0].job_id]
    with pytest.raises(IntegrityError):
        third.result()


def test_a_database_that_is_away_is_everybodys_concern():
    """Each caller decides for itself how long it tries again."""
    ledger = Ledger(error=OperationalError("commit", None, Exception("gone")))
    for answer in together(ledger, [[done(1)], [done(2)], [done(3)]]):
        with pytest.raises(OperationalError):
            answer.result()

    assert [[1], [2, 3]] == ledger.transactions


def test_alone_a_change_is_written_at_once():
    """Nobody waits for company."""
    ledger = Ledger()
    ledger.go.set()

    assert [done(1)] == GroupCommit(ledger.write)([done(1)], 0.0)
