"""The network between the workers and each server: slow, silent, or cutting replies short. Nobody waits for ever."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from imagejobs.states import State
from tests.faults import matrix, recovery
from tests.servers.fault_proxy import BLACK_HOLE, FaultProxy, Faults
from tests.servers.postgres import PostgresServer
from tests.servers.s3 import MinistackServer
from tests.servers.sandbox import SandboxServer
from tests.servers.valkey import ValkeyServer
from tests.system.fleet import Fleet

FAULTS = {  # with how long they last; a black hole for longer than any time-out of ours
    "latency": (Faults(latency_seconds=0.1), 10.0),
    "black hole": (BLACK_HOLE, 20.0),
    "cut replies": (Faults(cuts_after_reply_bytes=700), 10.0),
}
Open = Callable[[ExitStack, Path, FaultProxy], dict[str, str]]


def valkey(stack: ExitStack, folder: Path, proxy: FaultProxy) -> dict[str, str]:
    """Redis behind the proxy."""
    server = stack.enter_context(ValkeyServer(folder / "redis"))
    proxy.lead_to(server.port)
    return {"REDIS_URL": server.url.replace(str(server.port), str(proxy.port))}


def postgresql(stack: ExitStack, folder: Path, proxy: FaultProxy) -> dict[str, str]:
    """The ledger behind the proxy."""
    server = stack.enter_context(PostgresServer(folder / "postgres"))
    proxy.lead_to(server.port)
    return {"DATABASE_URL": server.create_database().replace(str(server.port), str(proxy.port))}


def s3(stack: ExitStack, folder: Path, proxy: FaultProxy) -> dict[str, str]:
    """The store behind the proxy."""
    server = stack.enter_context(MinistackServer(folder / "s3"))
    proxy.lead_to(server.port)
    endpoint = server.endpoint.replace(str(server.port), str(proxy.port))
    return {**server.settings, "AWS_ENDPOINT_URL_S3": endpoint, "IMAGEJOBS_STORE": f"s3://{server.make_bucket()}"}


def provider(_stack: ExitStack, _folder: Path, proxy: FaultProxy) -> dict[str, str]:
    """The provider and its files behind the proxy."""
    return {"REPLICATE_BASE_URL": f"http://127.0.0.1:{proxy.port}"}


@contextmanager
def fleet_behind(open_server: Open, folder: Path, redis_url: str) -> Iterator[tuple[Fleet, FaultProxy]]:
    """A fleet that reaches one of its servers by way of a proxy only."""
    with ExitStack() as stack:
        proxy = stack.enter_context(FaultProxy(port=0))
        sandbox = SandboxServer(folder / "sandbox", public_url=f"http://127.0.0.1:{proxy.port}")
        if open_server is provider:
            proxy.lead_to(sandbox.port)
        else:
            sandbox = SandboxServer(folder / "sandbox")
        stack.enter_context(sandbox)
        paced = {"IMAGEJOBS_CREATES_PER_MINUTE": recovery.pace(), **open_server(stack, folder, proxy)}
        yield stack.enter_context(Fleet(folder, sandbox=sandbox, redis_url=redis_url, **paced)), proxy


@pytest.mark.parametrize("open_server", [valkey, postgresql, s3, provider])
@pytest.mark.parametrize("fault", FAULTS)
def test_network(fault: str, open_server: Open, tmp_path: Path, redis_url: str) -> None:
    """A fault of 10 or 20 seconds in mid-run; then work goes on, and all that was paid for is stored."""
    faults, fault_seconds = FAULTS[fault]
    with fleet_behind(open_server, tmp_path, redis_url) as (fleet, proxy):
        recovery.get_under_way(fleet)
        stored, accepted = fleet.batch().counts[State.SUCCEEDED], recovery.accepted_creates(fleet)
        proxy.faults = faults
        time.sleep(fault_seconds)  # the length of the fault
        accepted_meanwhile = recovery.accepted_creates(fleet)
        proxy.faults = Faults()
        seconds = recovery.until_the_next_image(fleet)
        if fault == "latency":  # slow, but it goes on
            assert stored < fleet.batch().counts[State.SUCCEEDED]
            assert accepted < accepted_meanwhile
        batch = recovery.closed_soon(fleet)

        matrix.proven(
            fleet,
            batch,
            fault=f"network to {open_server.__name__}: {fault}",
            injected=proxy.struck,
            recovery_seconds=seconds,
        )
        assert seconds <= recovery.BOUND_SECONDS
