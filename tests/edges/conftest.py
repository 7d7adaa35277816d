"""What the tests of single doors share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from imagejobs.edges.bucket import open_store
from imagejobs.edges.store import Store
from imagejobs.ledger import Ledger
from tests.edges.every_store import Open
from tests.servers.postgres import PostgresServer


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """One ledger for all tests, on SQLite and on PostgreSQL: each test has an account and batches of its own in it.

    A test that looks at a whole database, or breaks one, takes `database_url` instead.
    """
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('ledger') / 'ledger.sqlite'}"
    else:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        url = server.create_database()
    with Ledger(url) as opened:
        yield opened


@pytest.fixture
def client(redis_engines: str) -> redis.Redis:
    """A client on an empty database."""
    with redis.Redis.from_url(redis_engines, decode_responses=True) as client:
        yield client


@pytest.fixture
def opened() -> Iterator[Open]:
    """Stores, closed at the end of the test."""
    stores: list[Store] = []

    def open_one(url: str, environ: Any = None) -> Store:
        stores.append(open_store(url, environ))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()
