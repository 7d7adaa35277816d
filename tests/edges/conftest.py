"""What the tests of single doors share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from imagejobs.clock import SystemClock
from imagejobs.edges.bucket import open_store
from imagejobs.edges.download import Downloader
from imagejobs.edges.provider import Provider
from imagejobs.edges.store import Store
from imagejobs.ledger import Ledger
from imagejobs.settings import Settings
from tests.edges.desk import Desk, open_desk
from tests.edges.download_door import open_door
from tests.edges.every_store import Open
from tests.edges.provider_door import TOKEN
from tests.edges.scripted_host import ScriptedHost
from tests.night import Night, a_spec
from tests.servers.postgres import PostgresServer
from tests.servers.sandbox import SandboxServer


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


@pytest.fixture
def host() -> Iterator[ScriptedHost]:
    """A host that does as it is told."""
    with ScriptedHost() as host:
        yield host


@pytest.fixture
def open_provider() -> Iterator[Callable[..., Provider]]:
    """Doors, closed at the end of the test."""
    opened: list[Provider] = []

    def open_one(base_url: str, *, read_seconds: float = 5, token: str = TOKEN) -> Provider:
        facts = {"REPLICATE_BASE_URL": base_url, "REPLICATE_API_TOKEN": token, "IMAGEJOBS_READ_SECONDS": read_seconds}
        opened.append(Provider(Settings.read({}, **facts), clock=SystemClock()))
        return opened[-1]

    yield open_one
    for provider in opened:
        provider.close()


@pytest.fixture
def provider(host: ScriptedHost, open_provider: Callable[..., Provider]) -> Provider:
    """The door to that host."""
    return open_provider(host.url)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    """A stand-in provider for all tests of a file."""
    with SandboxServer(tmp_path_factory.mktemp("sandbox"), run_seconds=0.05, min_cancel_after_seconds=1) as server:
        yield server


@pytest.fixture
def server(running: SandboxServer) -> SandboxServer:
    """The same, with nothing asked of it yet."""
    running.reset()
    return running


@pytest.fixture
def night(tmp_path: Path) -> Night:
    """Three jobs: two succeeded, one with two images; one failed, with one image of its own."""
    night = Night(tmp_path, [a_spec("r1"), a_spec("r2"), a_spec("r3")])
    night.succeed("r1")
    night.succeed("r2", images=2)
    night.fail("r3", indexes=[1])
    return night


@pytest.fixture
def local() -> Iterator[Downloader]:
    """The door as it stands when the provider is on loopback."""
    door = open_door("http://127.0.0.1:1")
    yield door
    door.close()


@pytest.fixture
def public() -> Iterator[Downloader]:
    """The door as it stands in production."""
    door = open_door("https://api.replicate.com")
    yield door
    door.close()


@pytest.fixture
def desk(tmp_path: Path, redis_url: str, database_url: str) -> Iterator[Desk]:
    """On both databases, with predictions that run for as long as a test."""
    with open_desk(tmp_path, redis_url, database_url, run_seconds=600) as desk:
        yield desk


@pytest.fixture
def quick_desk(tmp_path: Path, redis_url: str, database_url: str) -> Iterator[Desk]:
    """With a model of a tenth of a second."""
    with open_desk(tmp_path, redis_url, database_url, run_seconds=0.1) as desk:
        yield desk


@pytest.fixture(scope="module")
def store_host() -> Iterator[ScriptedHost]:
    """A store that says what it is told; one for a module, since a client for each would take a third of a second."""
    with ScriptedHost() as host:
        yield host
