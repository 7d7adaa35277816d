"""Creates whose replies were lost: found in bulk, adopted, and where nobody can know, held for a person."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

from imagejobs.states import State
from tests.faults import matrix
from tests.servers.sandbox import SandboxServer
from tests.servers.waiting import eventually
from tests.system.fleet import Fleet, rows

A_PAGE = 100


def test_all_replies_lost_and_all_workers_killed(fleet: Fleet) -> None:
    """Every create was accepted, nobody knows of any: as many list calls as there are pages, not as there are jobs."""
    count = max(300, matrix.jobs())
    fleet.sandbox.faults([{"on": "create", "kind": "reset_after"}, {"on": "list", "kind": "status", "status": 503}])
    fleet.submit(rows(count))
    fleet.start(2)
    fleet.reached(lambda batch: batch.counts[State.SUBMITTING] == count, timeout_seconds=120 + count)
    eventually(lambda: fleet.sandbox.stats()["replies_lost"] == count, timeout_seconds=60, what="all are accepted")
    for worker in list(fleet.workers):
        fleet.kill(worker)
    before = fleet.sandbox.stats()
    fleet.sandbox.faults([])
    began = time.monotonic()
    fleet.start(2)
    fleet.reached(lambda batch: batch.counts[State.SUBMITTING] == 0)
    recovery_seconds = time.monotonic() - began
    batch = matrix.finished(fleet)
    after = fleet.sandbox.stats()

    pages = math.ceil(count / A_PAGE)
    assert after["lists"] - before["lists"] <= 3 * pages + 5  # one look-up, and the sweeps that find them finished
    assert after["gets"] - before["gets"] <= 10
    matrix.proven(
        fleet,
        batch,
        fault="all replies lost, all workers killed",
        injected=before["replies_lost"],
        recovery_seconds=recovery_seconds,
    )


def test_without_a_list_a_person_decides(tmp_path: Path, redis_url: str) -> None:
    """Held with a reason and a command; that command pays again, and the risk is counted."""
    with (
        SandboxServer(tmp_path / "sandbox", dialect="no-list") as sandbox,
        Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url) as fleet,
    ):
        sandbox.faults([{"on": "create", "kind": "reset_after", "count": 5}])
        fleet.submit(rows(matrix.jobs()))
        fleet.start(2)
        held = matrix.finished(fleet)
        (group,) = json.loads(fleet.told("failures", "night", "--json"))["failures"]
        asked, *arguments = group["command"].split()
        fleet.told(*arguments, "--yes")
        batch = matrix.finished(fleet)

        assert (5, 0) == (held.counts[State.FAILED], held.possible_double_payments)
        assert ("imagejobs", "unknown_outcome", 5) == (asked, group["cause"], group["count"])
        assert "may pay twice" in group["advice"]
        assert 5 == batch.possible_double_payments
        matrix.proven(fleet, batch, fault="no list: held, then retried", injected=5, paid_retries=5)
