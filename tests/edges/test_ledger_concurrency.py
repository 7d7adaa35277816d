"""Many at once on one ledger, on both databases: nothing deadlocks, no update is lost, the books balance."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from threading import Event

import pytest
from sqlalchemy import text

from imagejobs import moves
from imagejobs.ledger import LEDGER_ERRORS, Ledger, engine
from imagejobs.ledger.engine import ON_END_SECONDS
from imagejobs.moves import Move
from imagejobs.states import State
from tests.desk import NOW, Desk
from tests.ledger_books import assert_books_balance
from tests.ledger_crowd import Member, crowd

THREADS, PROCESSES = 6, 3


def deadlocks(ledger: Ledger) -> int:
    """How many transactions PostgreSQL has ended because they waited in a ring."""
    if ledger.database.is_sqlite:
        return 0
    query = "SELECT pg_stat_clear_snapshot(), deadlocks FROM pg_stat_database WHERE datname = current_database()"
    with ledger.database.read() as connection:
        return int(connection.execute(text(query)).one().deadlocks)


def test_threads_of_one_process_agree(database_url: str):
    """Workers, sweeps, feeds, closers and people in one process; any error of the database would be raised."""
    with Ledger(database_url) as ledger:
        members = [Member(ledger, random.Random(seed)) for seed in range(THREADS)]
        members[0].submit()
        with ThreadPoolExecutor(THREADS) as threads:
            granted = sum(threads.map(lambda member: member.act(40), members))

        assert granted > 0
        assert 0 == deadlocks(ledger)
        assert_books_balance(ledger)


def test_processes_agree(database_url: str):
    """The same from several processes, each with connections of its own."""
    with Ledger(database_url) as ledger:
        Member(ledger, random.Random(0)).submit()
        with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as processes:
            granted = sum(processes.map(crowd, [database_url] * PROCESSES, range(PROCESSES)))

        assert granted > 0
        assert 0 == deadlocks(ledger)
        assert_books_balance(ledger)


def take_a_turn(ledger: Ledger) -> int:
    """A write of a few milliseconds, as those of a busy worker are. Returns how many there were before it."""
    with ledger.database.write() as connection:
        before = int(connection.execute(text("PRAGMA user_version")).scalar_one())
        connection.execute(text(f"PRAGMA user_version = {before + 1}"))
        time.sleep(0.003)
        return before


def take_turns(url: str, begun: Event, turns: int) -> list[int]:
    """One process's writes, now and then: each has to get in."""
    taken = []
    with Ledger(url) as ledger:
        take_a_turn(ledger)
        begun.set()
        for _ in range(turns):
            time.sleep(0.01)
            taken.append(take_a_turn(ledger))
    return taken


def test_no_process_is_starved_by_one_that_writes_without_a_pause(tmp_path: Path):
    """SQLite's own waiting naps for ever longer: other threads of the busy process then write a hundred times."""
    url, is_over = f"sqlite:///{tmp_path / 'ledger.sqlite'}", threading.Event()

    def write_on(_: int) -> None:
        while not is_over.is_set():
            take_a_turn(ledger)

    with (
        Ledger(url) as ledger,
        ThreadPoolExecutor(THREADS) as threads,
        get_context("spawn").Manager() as manager,
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as other,
    ):
        begun = manager.Event()
        theirs = other.submit(take_turns, url, begun, 100)
        assert begun.wait(60)
        ours = [threads.submit(write_on, number) for number in range(THREADS)]
        try:
            turns = theirs.result(60)
        finally:
            is_over.set()

        assert [] == [error for one in ours if (error := one.exception())]
        assert max(after - before for before, after in pairwise(turns)) < 30


def test_whoever_is_interrupted_while_it_leaves_room_leaves_the_turn_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A person's Ctrl-C in the middle of a submit: what it wrote is discarded, by another write."""

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    with Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as ledger, ThreadPoolExecutor(1) as another:
        with ledger.database.write():
            time.sleep(2 * ON_END_SECONDS)
        monkeypatch.setattr(time, "sleep", interrupted)
        with pytest.raises(KeyboardInterrupt):
            take_a_turn(ledger)
        monkeypatch.undo()

        assert 0 == another.submit(take_a_turn, ledger).result(10)


def test_a_lock_that_outlasts_all_patience_is_an_outage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Whoever works puts off what it wanted to write, as with any ledger that is away."""
    path = tmp_path / "ledger.sqlite"
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.3)
    with Ledger(f"sqlite:///{path}") as ledger:
        with closing(sqlite3.connect(path, isolation_level=None)) as another:
            another.execute("BEGIN IMMEDIATE")
            with pytest.raises(LEDGER_ERRORS, match="locked"):
                take_a_turn(ledger)

        assert 0 == take_a_turn(ledger)


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_the_servers_default_isolation_has_no_say(postgres_database: str, level: str):
    """A server set to a stricter one would end waiting transactions with an error, again and again."""
    with Ledger(postgres_database) as ledger, ledger.database.write() as connection:
        name = connection.execute(text("SELECT current_database()")).scalar_one()
        connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_isolation = '{level}'"))
    with Ledger(postgres_database) as ledger:
        members = [Member(ledger, random.Random(seed)) for seed in range(THREADS)]
        members[0].submit()
        with ThreadPoolExecutor(THREADS) as threads:
            assert sum(threads.map(lambda member: member.act(15), members)) > 0

        assert_books_balance(ledger)


def test_one_prediction_given_to_many_twins_at_once_belongs_to_one(ledger: Ledger):
    """Processes that look up the same list at once: each apply ends well, whatever order its moves have."""
    at = Desk(ledger)
    threads, found = 6, [f"{at.account}-{number}" for number in range(20)]
    at.batch(rows=threads * len(found))
    waiting = at.begin()
    together = threading.Barrier(threads)

    def look_up(number: int) -> Sequence[Move]:
        mine = waiting[number::threads]
        order = found if number % 2 else found[::-1]
        wishes = [
            moves.accepted(job, prediction_id=one, at=NOW, look_at=NOW) for job, one in zip(mine, order, strict=True)
        ]
        together.wait(30)
        return at.apply(*wishes)

    with ThreadPoolExecutor(threads) as pool:
        granted = [move for applied in pool.map(look_up, range(threads)) for move in applied]

    assert sorted(found) == sorted(move.record["prediction_id"] for move in granted)
    assert 0 == deadlocks(ledger)
    assert len(found) == at.again(at.batch_of(waiting[0])).counts[State.RUNNING]
    assert_books_balance(ledger)
