"""Wall clocks that disagree by minutes: nothing is looked up too soon, found too late or paid twice."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.faults import matrix
from tests.servers.postgres import PostgresServer
from tests.servers.sandbox import SandboxServer
from tests.servers.waiting import eventually
from tests.servers.wall_clock import ahead
from tests.system.fleet import Fleet, rows

OFF_SECONDS = 300
PACED = {"IMAGEJOBS_CREATES_PER_MINUTE": "600"}  # one or two jobs a message: each worker gets its share
LOST_REPLIES = [
    {"on": "create", "kind": "delay", "seconds": 0.5},
    {"on": "create", "kind": "reset_after", "rate": 0.2},
]


def test_hosts_five_minutes_apart_on_both_sides(
    tmp_path: Path, redis_url: str, sandbox: SandboxServer, postgres_server: PostgresServer
) -> None:
    """One host is five minutes ahead, another five behind: intents are dated by the database that they share."""
    sandbox.faults(LOST_REPLIES)
    url = postgres_server.create_database()
    with Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url, DATABASE_URL=url, **PACED) as fleet:
        for seconds in (OFF_SECONDS, -OFF_SECONDS):
            fleet.start(1, **ahead(seconds))
        eventually(lambda: all(map(fleet.is_up, fleet.workers)), timeout_seconds=60, what="both work")
        fleet.submit(rows(matrix.jobs()))
        batch = matrix.finished(fleet)

        assert [OFF_SECONDS, -OFF_SECONDS] == [clock_of(fleet, number) for number in (0, 1)]
        assert all(fleet.events("create", worker) for worker in fleet.workers)
        matrix.proven(fleet, batch, fault="hosts' clocks 10 minutes apart", injected=sandbox.stats()["replies_lost"])
    postgres_server.drop_database(url)


@pytest.mark.parametrize("off_seconds", [OFF_SECONDS, -OFF_SECONDS])
def test_a_machine_five_minutes_off_the_provider(
    tmp_path: Path, redis_url: str, sandbox: SandboxServer, off_seconds: int
) -> None:
    """All of ours on one machine whose clock is wrong: the provider is asked in its own time."""
    sandbox.faults(LOST_REPLIES)
    file = tmp_path / "night.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows(matrix.jobs())), encoding="utf-8")
    with Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url, **PACED) as fleet:
        fleet.start(2, **ahead(off_seconds))
        eventually(lambda: all(map(fleet.is_up, fleet.workers)), timeout_seconds=60, what="both work")
        submitted = fleet.command("submit", str(file), "--batch", "night", **ahead(off_seconds))
        assert 0 == submitted.returncode, submitted.stderr
        batch = matrix.finished(fleet)

        assert [off_seconds, off_seconds] == [clock_of(fleet, number) for number in (0, 1)]
        matrix.proven(
            fleet,
            batch,
            fault=f"our clock {off_seconds:+d} s off the provider's",
            injected=sandbox.stats()["replies_lost"],
        )


def clock_of(fleet: Fleet, number: int) -> int:
    """How far a worker's wall clock is ahead of ours, by its last sweep or create: to five minutes, in seconds."""
    worker = fleet.workers[number]
    said = max(event["timestamp"] for event in [*fleet.events("sweep", worker), *fleet.events("create", worker)])
    off = datetime.fromisoformat(said) - datetime.now(tz=UTC)
    return round(off.total_seconds() / OFF_SECONDS) * OFF_SECONDS
