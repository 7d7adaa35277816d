"""Creates whose replies were lost: found in bulk, adopted, and where nobody can know, held for a person."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

from imagejobs.states import State
from producer import control
from tests.faults import matrix
from tests.servers.sandbox import SandboxServer
from tests.servers.waiting import eventually
from tests.system.fleet import Fleet, rows

A_PAGE = 100
LOST = 5
# The list lags for longer than the setting says: creates are declared absent that the provider has accepted.
BEYOND_ITS_WORD = [
    {"on": "list", "kind": "list_lag", "seconds": 20.0},
    {"on": "create", "kind": "reset_after", "match": "lost", "count": LOST},
    {"on": "create", "kind": "slow_run", "seconds": 120.0, "match": "lost", "count": LOST},
]


def specs_some_to_be_lost() -> list[dict[str, object]]:
    """The first five have prompts of their own."""
    specs = rows(matrix.jobs())
    for spec in specs[:LOST]:
        spec["prompt"] = f"lost {spec['prompt']}"
    return specs


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


def test_twins(fleet: Fleet) -> None:
    """Fours of one version, prompt and seed, replies lost and workers killed: as many are adopted as were accepted."""
    specs = rows(matrix.jobs(), seed=7)
    for number, spec in enumerate(specs):
        spec["prompt"] = f"lighthouse {number // 4}"
    lost = {"on": "create", "kind": "reset_after"}
    fleet.sandbox.faults([{**lost, "count": 5}, {**lost, "rate": 0.2}, {"on": "create", "kind": "delay_after"}])
    fleet.submit(specs)
    fleet.start(2)
    for _ in range(3):
        fleet.reached(lambda batch: batch.counts[State.SUBMITTING] > 0)
        fleet.kill(fleet.workers[0])
        fleet.start(1)
    batch = matrix.finished(fleet)

    matrix.proven(fleet, batch, fault="equal inputs, replies lost, kills", injected=matrix.struck(fleet, "reset_after"))


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


def test_orphans_that_a_slow_list_makes(fleet: Fleet) -> None:
    """Submitted again too soon: each prediction too many is cancelled while it runs, counted, and shown in `status`."""
    fleet.sandbox.faults(BEYOND_ITS_WORD)
    fleet.submit(specs_some_to_be_lost())
    fleet.start(2)
    matrix.finished(fleet)
    batch = fleet.reached(lambda batch: batch.orphans == LOST, timeout_seconds=90)
    eventually(
        lambda: fleet.sandbox.stats()["predictions"].get("canceled") == LOST,
        timeout_seconds=30,
        what="the orphans are cancelled",
    )

    assert LOST == json.loads(fleet.told("status", "night", "--json"))["orphans"]
    matrix.proven(fleet, batch, fault="list lags beyond its word", injected=LOST, orphans=LOST)


def test_orphans_whose_jobs_still_wait(fleet: Fleet) -> None:
    """Declared absent while the batch is paused: adopted when the list shows them, and nothing is paid for twice."""
    fleet.sandbox.faults(BEYOND_ITS_WORD[:2])
    fleet.submit(specs_some_to_be_lost())
    fleet.start(2, IMAGEJOBS_SETTLE_SECONDS="4")  # long enough to pause before anything is submitted again
    eventually(lambda: matrix.struck(fleet, "reset_after") == LOST, timeout_seconds=60, what="all replies lost")
    control.pause(fleet.ledger, fleet.batch(), reason="the list is slow")
    fleet.reached(lambda batch: batch.counts[State.SUBMITTING] == 0)
    waiting = fleet.batch().counts[State.QUEUED]
    fleet.reached(lambda batch: batch.counts[State.QUEUED] <= waiting - LOST)
    fleet.told("resume", "night")
    batch = matrix.finished(fleet)

    assert LOST == len(fleet.events("orphan_adopted"))
    matrix.proven(fleet, batch, fault="list lags beyond its word, paused", injected=LOST)
