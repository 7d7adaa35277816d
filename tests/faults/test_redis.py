"""Redis dies, forgets, refuses or is cut off in mid-run: messages are hints, and the ledger sends for its jobs anew."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis

from imagejobs.queues import SUBMIT, Broker, key_prefix
from tests.faults import matrix, recovery
from tests.servers.fault_proxy import REFUSED, FaultProxy, Faults
from tests.servers.redis_server import RedisLike, RedisServer
from tests.servers.sandbox import SandboxServer
from tests.servers.valkey import ValkeyServer
from tests.servers.waiting import eventually
from tests.system.fleet import Fleet

DOWN_SECONDS = 30.0
FULL_SECONDS = 15.0
CUTS = 8


@pytest.fixture(params=[ValkeyServer, RedisServer])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisLike]:
    """A server of the test's own, to be killed: once Valkey, once Redis."""
    with request.param(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def valkey_alone(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A Valkey of the test's own."""
    with ValkeyServer(tmp_path / "redis") as server:
        yield server


def fleet_on(redis_url: str, folder: Path, sandbox: SandboxServer) -> Fleet:
    """A fleet whose batch lasts long enough to be struck in its middle."""
    return Fleet(folder, sandbox=sandbox, redis_url=redis_url, IMAGEJOBS_CREATES_PER_MINUTE=recovery.pace())


def conclude(fleet: Fleet, fault: str, injected: int, seconds: float) -> None:
    """The row, and the bound that every recovery from a fault of Redis must keep."""
    batch = recovery.closed_soon(fleet)

    matrix.proven(fleet, batch, fault=fault, injected=injected, recovery_seconds=seconds)
    assert seconds <= recovery.BOUND_SECONDS


def test_killed_and_started_again(engine: RedisLike, tmp_path: Path, sandbox: SandboxServer) -> None:
    """kill -9 three times, each time started at once on its append-only file."""
    with fleet_on(engine.url, tmp_path, sandbox) as fleet:
        recovery.get_under_way(fleet)
        seconds = []
        for _ in range(3):
            engine.kill()
            engine.start()
            seconds.append(recovery.until_work_goes_on(fleet))

        conclude(fleet, f"{type(engine).__name__} kill -9 and restart", len(seconds), max(seconds))


def test_down_for_half_a_minute(engine: RedisLike, tmp_path: Path, sandbox: SandboxServer) -> None:
    """kill -9, and nobody listens for 30 seconds."""
    with fleet_on(engine.url, tmp_path, sandbox) as fleet:
        recovery.get_under_way(fleet)
        engine.kill()
        time.sleep(DOWN_SECONDS)  # the length of the outage
        engine.start()
        seconds = recovery.until_work_goes_on(fleet)

        conclude(fleet, f"{type(engine).__name__} down for 30 s", fleet.log().count("broker_away"), seconds)


def test_emptied(valkey_alone: ValkeyServer, tmp_path: Path, sandbox: SandboxServer) -> None:
    """FLUSHALL three times in mid-run: the ledger sends again what it says is due."""
    with fleet_on(valkey_alone.url, tmp_path, sandbox) as fleet, redis.Redis.from_url(valkey_alone.url) as client:
        recovery.get_under_way(fleet)
        seconds = []
        for _ in range(3):
            eventually(
                lambda: client.exists(key_prefix(fleet.settings.account_name) + "epoch"),
                what="the fleet trusts its messages",
            )
            client.flushall()
            seconds.append(recovery.until_work_goes_on(fleet))

        conclude(fleet, "Redis emptied", len(seconds), max(seconds))


def test_every_connection_cut(valkey_alone: ValkeyServer, tmp_path: Path, sandbox: SandboxServer) -> None:
    """CLIENT KILL of all connections, a second apart."""
    with fleet_on(valkey_alone.url, tmp_path, sandbox) as fleet, redis.Redis.from_url(valkey_alone.url) as client:
        recovery.get_under_way(fleet)
        cut = 0
        for _ in range(CUTS):
            cut += client.client_kill_filter(_type="normal", skipme=True)
            time.sleep(1.0)  # the pace of the cutting, not a wait for anything
        seconds = recovery.until_work_goes_on(fleet)

        conclude(fleet, "Redis connections cut", cut, seconds)


def test_memory_full(valkey_alone: ValkeyServer, tmp_path: Path, sandbox: SandboxServer) -> None:
    """No room for any write (noeviction) for 15 seconds, from a moment on when many messages wait to be taken."""
    with fleet_on(valkey_alone.url, tmp_path, sandbox) as fleet, redis.Redis.from_url(valkey_alone.url) as client:
        recovery.get_under_way(fleet)
        with closing(Broker(valkey_alone.url, account=fleet.settings.account_name)) as broker:
            broker.send(SUBMIT, [[1]] * 1000)  # about a job that has long been sent: nothing comes of them
        client.config_set("maxmemory", 1)
        time.sleep(FULL_SECONDS)  # the length of the outage
        refused = int(client.info("stats")["total_error_replies"])
        client.config_set("maxmemory", 0)
        seconds = recovery.until_work_goes_on(fleet)

        conclude(fleet, "Redis full", refused, seconds)


def test_an_empty_replica_takes_over(valkey_alone: ValkeyServer, tmp_path: Path, sandbox: SandboxServer) -> None:
    """The address leads to another server, which knows nothing."""
    with (
        ValkeyServer(tmp_path / "replica") as replica,
        FaultProxy(port=valkey_alone.port) as address,
    ):
        url = valkey_alone.url.replace(str(valkey_alone.port), str(address.port))
        with fleet_on(url, tmp_path, sandbox) as fleet:
            recovery.get_under_way(fleet)
            address.faults = REFUSED
            valkey_alone.kill()
            address.lead_to(replica.port)
            address.faults = Faults()
            seconds = recovery.until_work_goes_on(fleet)
            with redis.Redis.from_url(replica.url) as client:
                served = int(client.info("stats")["total_connections_received"])

            conclude(fleet, "an empty replica takes over from Redis", served, seconds)
