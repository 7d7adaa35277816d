"""What PostgreSQL does to a transaction that cannot go on, and what we make of it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, text
from sqlalchemy.exc import IntegrityError

from imagejobs.ledger import LEDGER_ERRORS
from imagejobs.ledger.bulk import insert_rows
from imagejobs.ledger.engine import Database
from imagejobs.ledger.postgres import IDLE_SECONDS

MINE = Table("mine", MetaData(), Column("id", Integer, primary_key=True))


@pytest.fixture
def database(postgres_server):
    """An empty one."""
    url = postgres_server.create_database()
    opened = Database(url)
    yield opened
    opened.close()
    postgres_server.drop_database(url)


def test_no_connection_may_sleep_in_a_transaction_for_long(database):
    """A stopped worker, or a suspended host, would keep every other from the batch's row."""
    with database.read() as connection:
        assert f"{IDLE_SECONDS}s" == connection.execute(text("SHOW idle_in_transaction_session_timeout")).scalar()


def test_whoever_slept_in_a_transaction_hears_that_the_ledger_was_away(database):
    """Nothing of it is written; the caller decides again, on another connection."""
    with pytest.raises(LEDGER_ERRORS), database.write() as connection:
        connection.execute(text("CREATE TABLE mine (id int)"))
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 200"))
        time.sleep(1)  # the sleep is what is tried
        connection.execute(text("SELECT 1"))
    with database.read() as connection:
        assert connection.execute(text("SELECT to_regclass('mine')")).scalar() is None


def test_a_standby_that_takes_no_writes_yet_is_a_ledger_that_is_away(database):
    """In mid-failover the address may lead to one."""
    with pytest.raises(LEDGER_ERRORS), database.write() as connection:
        connection.execute(text("SET TRANSACTION READ ONLY"))
        connection.execute(text("CREATE TABLE mine (id int)"))


def test_cut_off_while_rows_are_copied_in_the_ledger_was_away(database):
    """They go past SQLAlchemy; what is raised is what every other statement raises."""

    def rows(pid: int) -> Iterator[tuple[int]]:
        with database.read() as other:
            other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        return ((number,) for number in range(100_000))

    with pytest.raises(LEDGER_ERRORS), database.write() as connection:
        MINE.create(connection)
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        insert_rows(connection, MINE, ["id"], rows(pid))
    with database.read() as connection:
        assert connection.execute(text("SELECT to_regclass('mine')")).scalar() is None


def test_rows_that_are_there_already_are_refused_when_copied_in(database):
    """As an insert of theirs would be."""
    with pytest.raises(IntegrityError), database.write() as connection:
        MINE.create(connection)
        insert_rows(connection, MINE, ["id"], [(1,), (1,)])
