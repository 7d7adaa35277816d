"""Messages that are doubled, lost, late, forged or of another version, for a whole run: no effect on any count."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import matrix
from tests.servers.meddler import Command, Meddler, Meddling, rewritten
from tests.servers.sandbox import SandboxServer
from tests.system.fleet import Fleet, rows


def doubled(key: bytes, message: bytes, number: int) -> Command:
    """Every message comes twice."""
    return [b"LPUSH", key, message, message]


def every_tenth_dropped(key: bytes, message: bytes, number: int) -> Command | None:
    """Redis says that it took it, and nobody ever sees it."""
    return [b"LPUSH", key + b":lost", message] if number % 10 == 0 else None


def forged(key: bytes, message: bytes, number: int) -> Command:
    """Beside every message, one that names other jobs: all of the batch, many, none that exists, or nonsense."""
    every = list(range(1, matrix.jobs() + 1))
    forgeries = [[every], [every[-100:]], [[999_999_999]], [[-1, "rm -rf"]], ["all"], [None, {}]]
    return [b"LPUSH", key, rewritten(message, args=forgeries[number % len(forgeries)]), message]


def of_another_version(key: bytes, message: bytes, number: int) -> Command:
    """One version sends more than we know of; another has ids as arguments, not a list of them, and names its own."""
    newer = rewritten(message, kwargs={"priority": 3, "trace": {"id": "1"}}, imagejobs_version="9.0", depth=1)
    older = rewritten(message, args=[1, 2, 3], kwargs={"job_ids": [1]}, lang="py", task="imagejobs.generate")
    oldest = rewritten(message, args=[1], kwargs={"batch": "night"})
    return [b"LPUSH", key, newer, older, oldest]


def out_of_order() -> Meddling:
    """Every other message jumps the line, and each comes again when a dozen others have come after it."""
    old: list[tuple[bytes, bytes]] = []

    def out_of_order(key: bytes, message: bytes, number: int) -> Command:
        old.append((key, message))
        late = [then for there, then in old[:-12] if there == key][-1:]
        return [b"RPUSH" if number % 2 else b"LPUSH", key, *late, message]

    return out_of_order


@pytest.mark.parametrize(
    "meddle", [doubled, every_tenth_dropped, forged, of_another_version, out_of_order()], ids=lambda one: one.__name__
)
def test_meddled_with_messages(tmp_path: Path, redis_url: str, sandbox: SandboxServer, meddle: Meddling) -> None:
    """Messages are hints: whatever becomes of them, the ledger says what is to be done."""
    with (
        Meddler(redis_url, meddle) as meddler,
        Fleet(tmp_path, sandbox=sandbox, redis_url=meddler.url) as fleet,
    ):
        fleet.submit(rows(matrix.jobs()))
        fleet.start(2)
        batch = fleet.closed(timeout_seconds=300 + matrix.jobs())

        matrix.proven(fleet, batch, fault=f"messages {meddle.__name__.replace('_', ' ')}", injected=meddler.struck)
