"""A provider that says no, or not now: waiting costs time and nothing else, and a fault of all is not paid by each."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from imagejobs.errors import Cause
from imagejobs.job import Batch, Selection
from imagejobs.ledger.tables import jobs
from imagejobs.states import State
from tests.faults import matrix
from tests.servers.sandbox import SandboxServer
from tests.servers.waiting import eventually
from tests.system.fleet import Fleet, rows

GONE = {"title": "Invalid version or not permitted", "detail": "The specified version does not exist", "status": 422}
BAD = 60
FIRST_CREATES = 2 * 16  # what two workers may have on their way when the first refusal comes: one a thread


def at_rest(batch: Batch) -> bool:
    """Paused, and nothing is on its way any more."""
    return batch.paused is not None and batch.live == batch.counts[State.QUEUED]


def refused(fleet: Fleet, status: int) -> int:
    """How many creates the sandbox has answered so."""
    return int(fleet.sandbox.stats()["creates_refused"].get(str(status), 0))


def assert_no_try_used(fleet: Fleet) -> None:
    """Every job has all the tries it began with."""
    with fleet.ledger.database.read() as connection:
        left = set(connection.execute(jobs.select().with_only_columns(jobs.c.tries_left)).scalars())
    assert {fleet.settings.max_tries} == left


@pytest.mark.parametrize("hint", ["body", "text", "header", "none"])
def test_429_storms(fleet: Fleet, hint: str) -> None:
    """A fleet that knows no limit meets one of 600 a minute, and a storm on top: no try is used, nothing is paid twice.

    With the wait in Retry-After, in the body, in its words, or nowhere; where it is nowhere, asking early starts the
    provider's wait anew.
    """
    fleet.sandbox.limits(creates_per_minute=600, burst=5, wait_hint=hint, early_retry_extends=hint == "none")
    told = {"headers": {"Retry-After": "1"}} if hint == "header" else {}
    storm = {"kind": "status", "status": 429, "rate": 0.5, **told}
    fleet.sandbox.faults([{"on": on, "for_seconds": 10, **storm} for on in ("create", "list", "get", "file")])
    fleet.submit(rows(matrix.jobs()))
    fleet.start(2)
    batch = matrix.finished(fleet)

    reads = sum(rule["struck"] for rule in fleet.sandbox.stats()["faults"] if rule["on"] != "create")
    assert_no_try_used(fleet)
    matrix.proven(fleet, batch, fault=f"429 storm, wait told: {hint}", injected=refused(fleet, 429) + reads)


def test_a_false_402(fleet: Fleet) -> None:
    """The batch pauses; a few probes at growing intervals find out when it is over."""
    seconds = matrix.lasting(30, brief_seconds=9)
    no_credit = {"on": "create", "kind": "status", "status": 402}
    fleet.sandbox.faults([no_credit])
    fleet.submit(rows(matrix.jobs()))
    fleet.start(2)
    paused = fleet.reached(at_rest)
    first = refused(fleet, 402)
    fleet.sandbox.faults([{**no_credit, "for_seconds": seconds}])
    began = time.monotonic()
    batch = matrix.finished(fleet)

    assert "insufficient credit" in str(paused.paused)
    assert first <= FIRST_CREATES
    assert refused(fleet, 402) - first <= 3  # probes: after 5, 10 and 20 seconds
    assert_no_try_used(fleet)
    matrix.proven(
        fleet,
        batch,
        fault=f"{seconds:.0f} s of false 402",
        injected=refused(fleet, 402),
        recovery_seconds=time.monotonic() - began - seconds,
    )


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_revoked_in_mid_run(tmp_path: Path, redis_url: str, sandbox: SandboxServer, status: int) -> None:
    """Every call is refused, looks too. Mended by a person, who does not wait for the next probe."""
    ten_seconds_of_creates = {"IMAGEJOBS_CREATES_PER_MINUTE": str(6 * matrix.jobs())}
    with Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url, **ten_seconds_of_creates) as fleet:
        fleet.submit(rows(matrix.jobs()))
        fleet.start(2)
        fleet.reached(lambda batch: batch.counts[State.RUNNING] >= 1)
        sandbox.faults([{"on": on, "kind": "status", "status": status} for on in ("create", "list", "get", "cancel")])
        paused = fleet.reached(lambda batch: batch.paused and batch.counts[State.SUBMITTING] == 0)
        first = refused(fleet, status)
        eventually(lambda: refused(fleet, status) >= first + 2, timeout_seconds=60, what="the second probe, after 15 s")
        creates, injected, began = refused(fleet, status), matrix.struck(fleet), time.monotonic()
        sandbox.faults([])
        fleet.told("resume", "night")
        fleet.reached(lambda batch: batch.counts[State.QUEUED] < paused.counts[State.QUEUED])  # a probe is 20 s off
        recovery_seconds = time.monotonic() - began
        batch = matrix.finished(fleet)

        assert ("auth_billing", True) == (paused.paused_kind, paused.counts[State.QUEUED] > 0)
        assert creates <= FIRST_CREATES + 2
        assert_no_try_used(fleet)
        matrix.proven(
            fleet,
            batch,
            fault=f"{status} to everything, then resume",
            injected=injected,
            recovery_seconds=recovery_seconds,
        )


def test_one_bad_input(fleet: Fleet) -> None:
    """422: that job fails as `input`, once; nobody else notices."""
    fleet.sandbox.faults([{"on": "create", "kind": "status", "status": 422, "match": "lighthouse 3 "}])
    specs = rows(matrix.jobs())
    specs[3]["prompt"] = "lighthouse 3 upside down"
    fleet.submit(specs)
    fleet.start(2)
    batch = matrix.finished(fleet)
    (group,) = fleet.ledger.steering.groups(batch.id, Selection(), now=0.0)

    assert (Cause.INPUT, 1, "r0003") == (group.cause, group.count, group.sample_id)
    assert 1 == refused(fleet, 422) == matrix.struck(fleet)
    assert batch.total - 1 == fleet.sandbox.stats()["creates_accepted"] == batch.counts[State.SUCCEEDED]


def test_a_model_that_is_gone(tmp_path: Path, redis_url: str, sandbox: SandboxServer) -> None:
    """The breaker: twelve alike pause the batch, one probe at a time asks, and a retry brings those that failed."""
    sandbox.faults([{"on": "create", "kind": "status", "status": 422, "body": GONE}])
    with Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url, IMAGEJOBS_CREATES_PER_MINUTE="600") as fleet:
        fleet.submit(rows(matrix.jobs()))
        fleet.start(2)
        first = fleet.reached(at_rest).counts[State.FAILED]
        paused = fleet.reached(lambda batch: batch.counts[State.FAILED] > first)  # a probe
        injected, began = refused(fleet, 422), time.monotonic()
        sandbox.faults([])
        halfway = matrix.finished(fleet)
        recovery_seconds = time.monotonic() - began
        said = json.loads(fleet.told("retry", "night", "--cause", "input", "--yes", "--json"))
        batch = matrix.finished(fleet)

        assert ("breaker", injected) == (paused.paused_kind, paused.counts[State.FAILED])
        assert injected == first + 1 <= 12 + FIRST_CREATES
        assert injected == halfway.counts[State.FAILED] == said["generated_again"]
        matrix.proven(fleet, batch, fault="model gone: breaker", injected=injected, recovery_seconds=recovery_seconds)


def test_a_stretch_of_bad_rows(tmp_path: Path, redis_url: str, sandbox: SandboxServer) -> None:
    """Sixty in a row with the same fault of their own trip the breaker; a probe from afar ends each pause at once."""
    sandbox.faults([{"on": "create", "kind": "status", "status": 422, "match": "bad"}])
    with Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url, IMAGEJOBS_CREATES_PER_MINUTE="600") as fleet:
        specs = rows(BAD + matrix.jobs())
        for spec in specs[:BAD]:
            spec["prompt"] = f"bad {spec['prompt']}"
        fleet.submit(specs)
        fleet.start(2)
        fleet.reached(lambda batch: batch.paused_kind == "breaker", timeout_seconds=120)
        began = time.monotonic()
        fleet.reached(lambda batch: batch.counts[State.FAILED] == BAD, timeout_seconds=120 + matrix.jobs())
        took_seconds = time.monotonic() - began
        batch = matrix.finished(fleet)

        assert BAD == refused(fleet, 422)
        assert batch.total - BAD == sandbox.stats()["creates_accepted"] == batch.counts[State.SUCCEEDED]
        assert took_seconds < 120 + matrix.jobs() / 10  # one probe for each of the rest would take hours


def test_predictions_that_all_fail(tmp_path: Path, redis_url: str, sandbox: SandboxServer) -> None:
    """Paid for, each of them: the breaker ends it after twelve alike and what was on its way by then."""
    sandbox.faults([{"on": "create", "kind": "fail", "error": "Director: unexpected error (E9828)"}])
    slowly = {"IMAGEJOBS_CREATES_PER_MINUTE": "180", "IMAGEJOBS_MAX_TRIES": "12"}
    with Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url, **slowly) as fleet:
        fleet.submit(rows(matrix.jobs()))
        fleet.start(2)
        fleet.reached(at_rest)
        paid = sandbox.stats()["creates_accepted"]
        eventually(lambda: sandbox.stats()["creates_accepted"] > paid, timeout_seconds=60, what="a probe")
        fleet.reached(at_rest)
        injected, began = matrix.struck(fleet), time.monotonic()
        sandbox.faults([])
        fleet.told("allowance", "--creates-per-minute", "0")
        batch = matrix.finished(fleet)

        assert 12 <= paid <= 12 + 3 * 8  # at three a second, and some seconds until a failure is seen
        assert paid + 1 == injected
        assert injected == matrix.generated_again(fleet, batch)
        matrix.proven(
            fleet,
            batch,
            fault="every prediction fails: breaker",
            injected=injected,
            paid_retries=injected,
            recovery_seconds=time.monotonic() - began,
        )


def test_prompts_of_their_own_fault(fleet: Fleet) -> None:
    """Twenty withheld by the safety filter in a row say nothing of the others: the breaker stays shut."""
    specs = rows(20 + matrix.jobs())
    for spec in specs[:20]:
        spec["prompt"] = f"nsfw {spec['prompt']}"
    fleet.submit(specs)
    fleet.start(2)
    pauses: set[str | None] = set()
    fleet.reached(lambda batch: pauses.add(batch.paused) or batch.is_done, timeout_seconds=120 + matrix.jobs())
    batch = fleet.batch()

    assert {None} == pauses
    assert 20 == len([one for one in fleet.sandbox.predictions() if one["status"] == "failed"])
    matrix.proven(fleet, batch, fault="safety filter on 20 in a row", injected=20, failed=20)
