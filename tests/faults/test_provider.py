"""A provider that stumbles, lags and loses replies: a job is paid for once, and once more for each counted retry.

The first rules strike a few times however few jobs there are; then the rates hold. The sandbox's times have three to
nine digits, as the vendor's do.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from imagejobs.errors import Cause
from imagejobs.job import Batch, Selection
from imagejobs.states import State
from tests.faults import matrix
from tests.servers.sandbox import SandboxServer
from tests.system.fleet import Fleet, rows

Rules = list[dict[str, Any]]
LOST = {"on": "create", "kind": "reset_after"}
LATE = {"on": "create", "kind": "delay_after", "seconds": 6.0}  # twice the time-out of a whole reply
READS = ("list", "get", "file")

STUMBLES: dict[str, Rules] = {
    "5 % 5xx": [
        {"on": "create", "kind": "status", "status": 503, "count": 1},
        {"on": "create", "kind": "status", "status": 500, "rate": 0.05},
        *({"on": on, "kind": "status", "status": 502, "body": "<h1>Bad gateway</h1>", "rate": 0.05} for on in READS),
    ],
    "2 % resets": [
        {"on": "create", "kind": "reset", "count": 1},
        *({"on": on, "kind": "reset", "rate": 0.02} for on in ("create", *READS)),
    ],
    "2 % accepted, reply lost": [
        {**LOST, "count": 1},
        {**LOST, "rate": 0.02},
        {"on": "create", "kind": "status_after", "status": 502, "count": 1},
        {"on": "create", "kind": "status_after", "status": 502, "rate": 0.02},
        {**LATE, "count": 2},
    ],
}
LAG = {"on": "list", "kind": "list_lag", "seconds": 5.0}
BARE = {"on": "list", "kind": "drop_fields"}
ODD_LISTS: dict[str, Rules] = {
    "list lags 5 s, replies lost": [{**LOST, "count": 2}, {**LOST, "rate": 0.1}, LAG],
    "list without logs and version, replies lost": [{**LOST, "count": 2}, {**LOST, "rate": 0.1}, BARE],
    "list out of order, times shifted, replies lost": [
        {**LOST, "count": 2},
        {**LOST, "rate": 0.1},
        {"on": "list", "kind": "shuffle"},
        {"on": "list", "kind": "created_at_shift", "seconds": 0.033, "rate": 0.5},
        {"on": "list", "kind": "created_at_shift", "seconds": -0.9},
    ],
}


def causes(fleet: Fleet, batch: Batch) -> dict[Cause, int]:
    """How many jobs failed, by cause."""
    groups = fleet.ledger.steering.groups(batch.id, Selection(), now=0.0)
    found: dict[Cause, int] = {}
    for group in groups:
        found[group.cause] = found.get(group.cause, 0) + group.count
    return found


@pytest.mark.parametrize("fault", STUMBLES)
def test_stumbles(fleet: Fleet, fault: str) -> None:
    """Whatever is answered with an error or not at all is looked up; what was accepted is adopted."""
    fleet.sandbox.faults(STUMBLES[fault])
    fleet.submit(rows(matrix.jobs()))
    fleet.start(2)
    batch = matrix.finished(fleet)

    matrix.proven(fleet, batch, fault=fault, injected=matrix.struck(fleet))


@pytest.mark.parametrize("fault", ODD_LISTS)
def test_odd_lists(tmp_path: Path, redis_url: str, sandbox: SandboxServer, fault: str) -> None:
    """A lost create is found in a list that lags, lacks fields or order, and tells other times."""
    with Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url, IMAGEJOBS_SETTLE_SECONDS="6") as fleet:
        sandbox.faults(ODD_LISTS[fault])
        fleet.submit(rows(matrix.jobs()))
        fleet.start(2)
        batch = matrix.finished(fleet)

        assert 0 == batch.orphans
        assert matrix.struck(fleet, "list_lag", "drop_fields", "shuffle") > 0
        matrix.proven(fleet, batch, fault=fault, injected=matrix.struck(fleet, "reset_after"))


def test_transient_failures(tmp_path: Path, redis_url: str, sandbox: SandboxServer) -> None:
    """8 % of the predictions fail: each is paid for again, and the ledger counts exactly what the provider does."""
    with Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url, IMAGEJOBS_MAX_TRIES="12") as fleet:
        sandbox.faults([{"on": "create", "kind": "fail", "count": 1}, {"on": "create", "kind": "fail", "rate": 0.08}])
        fleet.submit(rows(matrix.jobs()))
        fleet.start(2)
        batch = matrix.finished(fleet)
        failed = matrix.struck(fleet)

        assert failed == matrix.generated_again(fleet, batch)
        matrix.proven(fleet, batch, fault="8 % transient failures", injected=failed, paid_retries=failed)


def test_slow_starts(fleet: Fleet) -> None:
    """A cold model is waited for, not paid for again; the others go on meanwhile."""
    seconds = matrix.lasting(150, brief_seconds=20)
    slow = {"on": "create", "kind": "slow_start", "seconds": seconds}
    fleet.sandbox.faults([{**slow, "count": 1}, {**slow, "rate": 0.1}])
    fleet.submit(rows(matrix.jobs()))
    fleet.start(2)
    batch = matrix.finished(fleet)

    matrix.proven(fleet, batch, fault=f"slow starts of {seconds:.0f} s", injected=matrix.struck(fleet))


def test_everything_at_once(tmp_path: Path, redis_url: str, database_url: str, sandbox: SandboxServer) -> None:
    """5xx, resets, lost replies, failures, slow starts, a lagging bare list: all in one run, and one payment a job."""
    patient = {"IMAGEJOBS_SETTLE_SECONDS": "6", "IMAGEJOBS_MAX_TRIES": "12", "DATABASE_URL": database_url}
    with Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url, **patient) as fleet:
        failing = {"on": "create", "kind": "fail", "rate": 0.08}
        slow = {"on": "create", "kind": "slow_start", "seconds": 20.0, "rate": 0.1}
        sandbox.faults([rule for rules in STUMBLES.values() for rule in rules] + [failing, slow, LAG, BARE])
        fleet.submit(rows(matrix.jobs()))
        fleet.start(2)
        batch = matrix.finished(fleet)
        failed = matrix.struck(fleet, "fail")

        assert failed == matrix.generated_again(fleet, batch)
        matrix.proven(
            fleet, batch, fault="the provider's faults at once", injected=matrix.struck(fleet), paid_retries=failed
        )


def test_data_uris(fleet: Fleet) -> None:
    """Outputs that come inside the record are stored like any other."""
    fleet.sandbox.faults(
        [{"on": "create", "kind": "data_uri", "count": 1}, {"on": "create", "kind": "data_uri", "rate": 0.5}]
    )
    fleet.submit(rows(matrix.jobs(), num_outputs=2))
    fleet.start(2)
    batch = matrix.finished(fleet)

    matrix.proven(fleet, batch, fault="output as data: URIs", injected=matrix.struck(fleet), outputs=2)


def test_outputs_that_are_not_there(fleet: Fleet) -> None:
    """Nothing, said to be a success: failed as `short`, and not paid for again unasked. Removed: generated again."""
    fleet.sandbox.faults(
        [
            {"on": "create", "kind": "null_output", "match": "lighthouse 7"},
            {"on": "create", "kind": "data_removed", "count": 3},
        ]
    )
    fleet.submit(rows(matrix.jobs()))
    fleet.start(2)
    batch = matrix.finished(fleet)
    short = batch.counts[State.FAILED]

    assert {Cause.SHORT: short} == causes(fleet, batch)
    assert 3 == matrix.generated_again(fleet, batch)
    matrix.proven(
        fleet, batch, fault="null and removed outputs", injected=matrix.struck(fleet), paid_retries=3, failed=short
    )


def test_partial_sets(fleet: Fleet) -> None:
    """Images withheld by the filter: those that came are kept, the job is no success, and nothing is paid for again."""
    fleet.sandbox.faults([{"on": "create", "kind": "partial", "keep": 2, "match": "lighthouse 1"}])
    fleet.submit(rows(matrix.jobs(), num_outputs=4))
    fleet.start(2)
    batch = matrix.finished(fleet)
    partial = matrix.struck(fleet)

    assert {Cause.SAFETY: partial} == causes(fleet, batch)
    matrix.proven(
        fleet,
        batch,
        fault="safety-filtered partial sets",
        injected=partial,
        failed=partial,
        kept=2 * partial,
        outputs=4,
    )


def test_unknown_status_for_a_while(fleet: Fleet) -> None:
    """A word that nobody has seen is taken for running."""
    fleet.sandbox.faults([{"on": "create", "kind": "unknown_status"}])
    fleet.submit(rows(matrix.jobs()))
    fleet.start(2)
    batch = matrix.finished(fleet)

    matrix.proven(fleet, batch, fault="unknown status word", injected=matrix.struck(fleet))


def test_unknown_status_for_ever(tmp_path: Path, redis_url: str, sandbox: SandboxServer) -> None:
    """It ends by the time limit that was sent along; the ledger says so, and it is not paid for again unasked."""
    with Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url, IMAGEJOBS_JOB_SECONDS="6") as fleet:
        sandbox.faults([{"on": "create", "kind": "unknown_status", "for_ever": True, "count": 5}])
        fleet.submit(rows(matrix.jobs()))
        fleet.start(2)
        batch = matrix.finished(fleet)

        assert {Cause.DEADLINE: 5} == causes(fleet, batch)
        assert {6.0} == set(limits_sent(sandbox))
        matrix.proven(fleet, batch, fault="unknown status for ever", injected=matrix.struck(fleet), failed=5)


def test_deadlines_before_the_start(tmp_path: Path, redis_url: str, sandbox: SandboxServer) -> None:
    """`aborted`: it never ran and was not billed; it is sent again, and that is counted as a try."""
    with Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url, IMAGEJOBS_JOB_SECONDS="6") as fleet:
        sandbox.faults([{"on": "create", "kind": "slow_start", "seconds": 3600.0, "count": 6}])
        fleet.submit(rows(matrix.jobs()))
        fleet.start(2)
        batch = matrix.finished(fleet)

        assert 6 == sandbox.stats()["predictions"]["aborted"] == matrix.generated_again(fleet, batch)
        matrix.proven(fleet, batch, fault="aborted at the deadline", injected=6, paid_retries=6)


def test_deadlines_that_the_provider_forgets(tmp_path: Path, redis_url: str, sandbox: SandboxServer) -> None:
    """Its time limit passed and nothing ended it: a minute later it is cancelled by us, and fails as `deadline`."""
    with Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url, IMAGEJOBS_JOB_SECONDS="5") as fleet:
        endless = {"kind": "unknown_status", "for_ever": True}
        sandbox.faults([{"on": "create", **kind, "count": 3} for kind in (endless, {"kind": "no_deadline"})])
        fleet.submit(rows(matrix.jobs()))
        fleet.start(2)
        batch = matrix.finished(fleet)

        assert {Cause.DEADLINE: 3} == causes(fleet, batch)
        assert 3 == sandbox.stats()["predictions"]["canceled"]
        matrix.proven(fleet, batch, fault="never ends, no deadline", injected=sandbox.stats()["cancels"], failed=3)


def limits_sent(sandbox: SandboxServer) -> list[float]:
    """The time limit of each prediction, as the provider shows it: from its making to its deadline, in seconds."""
    shown = (sandbox.get(one["id"]) for one in sandbox.predictions())
    return [round((_time(one["deadline"]) - _time(one["created_at"])).total_seconds(), 1) for one in shown]


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text[:23].rstrip("Z") + "+00:00")
