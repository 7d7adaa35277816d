"""From the ledger to the queues, on a real Redis: what becomes of jobs whose messages may be lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
import redis
from sqlalchemy.exc import OperationalError

from imagejobs.dispatch import Dispatch
from imagejobs.ledger import Ledger
from imagejobs.queues import STORE, SUBMIT, Broker
from imagejobs.states import State
from tests.desk import NOW, Desk
from tests.servers.fault_proxy import REFUSED, FaultProxy, Faults
from tests.servers.postgres import PostgresServer
from tests.servers.valkey import ValkeyServer


@pytest.fixture
def desk(tmp_path) -> Iterator[Desk]:
    """An account of its own in a ledger of its own."""
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        yield Desk(ledger)


@pytest.fixture
def broker(redis_url, desk) -> Iterator[Broker]:
    """The account's door to Redis, whose messages are trusted."""
    with closing(Broker(redis_url, account=desk.account)) as broker:
        assert broker.has_lost_messages()
        yield broker


def unread(broker: Broker, queue: str) -> int:
    """How many messages wait to be taken."""
    return broker.redis.llen(broker.prefix + queue)


def test_doubted_messages_are_dropped_and_their_jobs_have_another_turn(desk, broker):
    """Once, for every job that a message names, copies too."""
    copy = desk.job_in(State.STORING)
    batch = desk.batch(20)
    dispatch = Dispatch(desk.ledger, broker, account=desk.account)
    dispatch.feed(creates_per_minute=0, now=NOW)
    dispatch.copies([copy.id], now=NOW)

    assert 0 == dispatch.recover(now=NOW)

    broker.doubt()

    assert 21 == dispatch.recover(now=NOW)
    assert (0, 0) == (unread(broker, SUBMIT), unread(broker, STORE))
    assert 0 == dispatch.recover(now=NOW)
    assert 20 == dispatch.feed(creates_per_minute=0, now=NOW)
    assert 1 == dispatch.overdue_copies(now=NOW)
    assert {1} == {desk.row(job)["hinted"] for job in [*desk.ids(batch), copy.id]}


def test_a_doubt_outlives_an_absent_ledger(postgres_server: PostgresServer, redis_url):
    """Nobody could act upon it then; it is acted upon once the ledger is back."""
    url = postgres_server.create_database()
    with (
        FaultProxy(port=postgres_server.port) as proxy,
        Ledger(url.replace(str(postgres_server.port), str(proxy.port))) as ledger,
        closing(Broker(redis_url, account="away")) as broker,
    ):
        desk = Desk(ledger)
        desk.batch(5)
        desk.take()
        proxy.faults = REFUSED
        proxy.cut_connections()
        with pytest.raises(OperationalError):
            Dispatch(ledger, broker, account="away").recover(now=NOW)
        proxy.faults = Faults()

        assert 5 == Dispatch(ledger, broker, account="away").recover(now=NOW)
    postgres_server.drop_database(url)


def test_copies_that_a_full_redis_refuses_are_due_again_at_once(desk, tmp_path):
    """They do not wait for a message that was never sent."""
    job = desk.job_in(State.STORING)
    with ValkeyServer(tmp_path / "full") as server, closing(Broker(server.url, account=desk.account)) as broker:
        dispatch = Dispatch(desk.ledger, broker, account=desk.account)
        with redis.Redis.from_url(server.url) as client:
            client.config_set("maxmemory", 1)

            assert 0 == dispatch.copies([job.id], now=NOW)

            client.config_set("maxmemory", 0)

        assert 1 == dispatch.overdue_copies(now=NOW)
        assert 1 == unread(broker, STORE)
