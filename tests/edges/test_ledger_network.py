"""PostgreSQL behind a network that swallows what it is given: the connection stays open, and no reply ever comes."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from imagejobs.ledger.engine import Database
from tests.servers.fault_proxy import BLACK_HOLE, NO_REPLIES, FaultProxy, Faults


@pytest.fixture
def proxy(postgres_server):
    with FaultProxy(port=postgres_server.port) as proxy:
        yield proxy


@pytest.fixture
def database(postgres_server, proxy):
    url = postgres_server.create_database()
    database = Database(url.replace(str(postgres_server.port), str(proxy.port)))
    database.upgrade()
    yield database
    database.close()
    proxy.cut_connections()
    postgres_server.drop_database(url)


@pytest.mark.parametrize("faults", [BLACK_HOLE, NO_REPLIES], ids=["black hole", "no replies"])
def test_a_reply_that_never_comes_ends_as_an_error(database, proxy, faults):
    """The thread is let go after the bound, and the connection is not used again."""
    database.reply_seconds = 1.0
    began = time.monotonic()
    with pytest.raises(OperationalError), database.read() as connection:
        connection.execute(text("SELECT 1"))
        proxy.faults = faults
        connection.execute(text("SELECT 2"))

    assert 1.0 <= time.monotonic() - began < 10.0

    proxy.faults = Faults()
    with database.read() as connection:
        assert 3 == connection.execute(text("SELECT 3")).scalar_one()


def test_a_pooled_connection_that_went_silent_is_replaced(database, proxy):
    """Going back into the pool it was well; at the next use nothing answers, and then another one does."""
    database.reply_seconds = 1.0
    with database.read() as connection:
        connection.execute(text("SELECT 1"))
    proxy.faults = BLACK_HOLE
    with pytest.raises(OperationalError), database.read():
        pass
    proxy.faults = Faults()

    assert database.now() > 0


def test_a_long_statement_is_waited_for(database):
    """The bound is on a reply, and is what it is set to: what takes its time within it is not cut off."""
    database.reply_seconds = 30.0
    with database.read() as connection:
        assert 1 == connection.execute(text("SELECT 1 FROM pg_sleep(1.5)")).scalar_one()
