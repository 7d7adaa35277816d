"""What all tests stand on: a clean environment, and real servers, each started when the first test asks for it.

A server that is not installed skips its tests on somebody's machine, and fails them where CI is set.
A test that kills or pauses a server starts one of its own: `with ValkeyServer(tmp_path) as server: …`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that `tests.servers` is found, wherever pytest is started

from tests.servers.postgres import PostgresServer
from tests.servers.rados_gateway import RadosGateway
from tests.servers.redis_server import RedisServer
from tests.servers.s3 import Bucket, MinistackServer, S3Server
from tests.servers.valkey import ValkeyServer

if TYPE_CHECKING:
    from tests.servers.sandbox import SandboxServer

# In CI the same examples every time, so that a red build is the change's own; elsewhere new ones with every run.
# A failure prints the blob that brings it back. No deadline: machines are noisy, and a hang has time-outs of its own.
hypothesis.settings.register_profile("usual", deadline=None, print_blob=True)
hypothesis.settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True, database=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "usual")

_SETTINGS = re.compile(
    r"IMAGEJOBS_\w+|REPLICATE_\w+|AWS_\w+|REDIS_URL|DATABASE_URL|(HTTP|HTTPS|ALL|NO)_PROXY", re.IGNORECASE
)
_REDIS_SERVERS = {"valkey": "valkey", "redis": "redis_server"}
_S3_SERVERS: dict[str, type[S3Server]] = {"ministack": MinistackServer, "radosgw": RadosGateway}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads the developer's own settings, credentials or proxies, be it from variables or from files."""
    for name in filter(_SETTINGS.fullmatch, tuple(os.environ)):
        monkeypatch.delenv(name)
    for file in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "NETRC"):
        monkeypatch.setenv(file, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """The embedded default's server; shared, so a test takes `redis_url` from it and leaves it running."""
    with ValkeyServer(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Debian's redis-server; shared like `valkey`."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_url(valkey: ValkeyServer) -> str:
    """REDIS_URL of an empty database."""
    return valkey.fresh_url()


@pytest.fixture(params=_REDIS_SERVERS)
def redis_engines(request: pytest.FixtureRequest) -> str:
    """REDIS_URL of an empty database, once on Valkey and once on Redis: for what an engine could do its own way."""
    server: ValkeyServer | RedisServer = request.getfixturevalue(_REDIS_SERVERS[request.param])
    return server.fresh_url()


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """One PostgreSQL for the run; a test takes a database of its own from it."""
    with PostgresServer(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """DATABASE_URL of an empty database, once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'ledger.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    url = server.create_database()
    yield url
    server.drop_database(url)


@pytest.fixture
def postgres_database(postgres_server: PostgresServer) -> Iterator[str]:
    """DATABASE_URL of an empty database on PostgreSQL: for what SQLite has not got."""
    url = postgres_server.create_database()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture(scope="session", params=_S3_SERVERS)
def s3_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A store that speaks S3: once the emulator, once a real one that checks signatures."""
    with _S3_SERVERS[request.param](tmp_path_factory.mktemp(request.param)) as server:
        yield server


@pytest.fixture
def bucket(s3_server: S3Server) -> Bucket:
    """A new empty bucket, and the variables that point at its store."""
    return Bucket(name=s3_server.make_bucket(), settings=s3_server.settings)


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[SandboxServer]:
    """A stand-in provider of this test's own: it counts what it was asked."""
    from tests.servers.sandbox import SandboxServer

    with SandboxServer(tmp_path / "sandbox") as server:
        yield server
