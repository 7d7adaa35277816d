"""The ledger's database dies, is away, cuts connections or is locked in mid-run: what was paid for is not forgotten.

Creates are answered a second late, so that the fault finds some of them on their way and their outcomes in a worker's
hand.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.faults import matrix, recovery
from tests.servers.postgres import PostgresServer
from tests.servers.sandbox import SandboxServer
from tests.system.fleet import Fleet

DOWN_SECONDS = 30.0
LOCKED_SECONDS = 10.0
CUTS = 8
HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print(flush=True)
input()
"""
SLOW_CREATES = {"on": "create", "kind": "delay_after", "seconds": 1.0}


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL of the test's own, to be killed."""
    with PostgresServer(tmp_path / "postgres") as server:
        yield server


@contextmanager
def fleet_under_way(folder: Path, sandbox: SandboxServer, redis_url: str, **environ: str) -> Iterator[Fleet]:
    """A fleet with a batch in its middle, and creates on their way."""
    sandbox.faults([SLOW_CREATES])
    paced = {"IMAGEJOBS_CREATES_PER_MINUTE": recovery.pace(), **environ}
    with Fleet(folder, sandbox=sandbox, redis_url=redis_url, **paced) as fleet:
        recovery.get_under_way(fleet)
        yield fleet


def conclude(fleet: Fleet, fault: str, injected: int, seconds: float) -> None:
    """The row, and the bound on recovery."""
    batch = recovery.closed_soon(fleet)

    matrix.proven(fleet, batch, fault=fault, injected=injected, recovery_seconds=seconds)
    assert seconds <= recovery.BOUND_SECONDS


def test_postgresql_killed_and_started_again(
    postgres: PostgresServer, tmp_path: Path, redis_url: str, sandbox: SandboxServer
) -> None:
    """kill -9 three times, each time started at once on its journal."""
    database_url = postgres.create_database()
    with fleet_under_way(tmp_path, sandbox, redis_url, DATABASE_URL=database_url) as fleet:
        seconds = []
        for _ in range(3):
            postgres.kill()
            postgres.start()
            seconds.append(recovery.until_work_goes_on(fleet))

        conclude(fleet, "PostgreSQL kill -9 and restart", len(seconds), max(seconds))


def test_postgresql_down_for_half_a_minute(
    postgres: PostgresServer, tmp_path: Path, redis_url: str, sandbox: SandboxServer
) -> None:
    """kill -9, and nobody listens for 30 seconds."""
    database_url = postgres.create_database()
    with fleet_under_way(tmp_path, sandbox, redis_url, DATABASE_URL=database_url) as fleet:
        postgres.kill()
        time.sleep(DOWN_SECONDS)  # the length of the outage
        postgres.start()
        seconds = recovery.until_work_goes_on(fleet)
        struck = fleet.log().count("ledger_away") + fleet.log().count("task_put_off")

        conclude(fleet, "PostgreSQL down for 30 s", struck, seconds)


def test_every_connection_to_postgresql_cut(
    postgres: PostgresServer, tmp_path: Path, redis_url: str, sandbox: SandboxServer
) -> None:
    """pg_terminate_backend on every connection of ours, a second apart."""
    database_url = postgres.create_database()
    with fleet_under_way(tmp_path, sandbox, redis_url, DATABASE_URL=database_url) as fleet:
        cut = 0
        with psycopg.connect(postgres.url_of("postgres").replace("+psycopg", ""), autocommit=True) as other:
            for _ in range(CUTS):
                ended = other.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'imagejobs'"
                )
                cut += ended.rowcount
                time.sleep(1.0)  # the pace of the cutting, not a wait for anything
        seconds = recovery.until_work_goes_on(fleet)

        conclude(fleet, "PostgreSQL connections cut", cut, seconds)


def test_sqlite_locked_by_another_program(tmp_path: Path, redis_url: str, sandbox: SandboxServer) -> None:
    """Somebody holds the write lock for 10 seconds, twice."""
    with fleet_under_way(tmp_path, sandbox, redis_url) as fleet:
        seconds = []
        for _ in range(2):
            with locked(tmp_path / "ledger.sqlite"):
                counts = fleet.batch().counts
                time.sleep(LOCKED_SECONDS)  # the length of the lock

                assert counts == fleet.batch().counts
            seconds.append(recovery.until_work_goes_on(fleet))

        conclude(fleet, "SQLite's writer locked for 10 s", len(seconds), max(seconds))


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Another process has begun to write, and does not end."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert "\n" == holder.stdout.readline()
        yield
        holder.communicate("\n")
