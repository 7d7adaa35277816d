"""Without a limit of creates, threads pace them: no job is claimed long before there is one to send its create."""

from __future__ import annotations

import signal
from collections import Counter

import pytest

from imagejobs.states import State
from tests.servers.waiting import eventually
from tests.system.fleet import Fleet, rows
from worker.ahead import MOST_A_THREAD
from worker.stages.submit import POST_WITHIN_SECONDS

THREADS = 4
NO_LIMIT = {
    "IMAGEJOBS_CREATES_PER_MINUTE": "0",
    "IMAGEJOBS_THREADS": str(THREADS),
    "IMAGEJOBS_READ_SECONDS": "15",
}


@pytest.fixture
def fleet(tmp_path, redis_url, sandbox):
    """Every create takes half a second: a worker takes messages that name more than it sends while a claim is fresh."""
    sandbox.faults([{"on": "create", "kind": "delay_after", "seconds": 0.5}])
    with Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url, **NO_LIMIT) as fleet:
        yield fleet


def test_no_claim_goes_stale(fleet):
    """Nor would a worker that is killed leave many to be looked up."""
    fleet.submit(rows(60))
    fleet.start(1)
    most = 0

    def is_done() -> bool:
        nonlocal most
        batch = fleet.batch()
        most = max(most, batch.counts[State.SUBMITTING])
        return batch.is_done

    eventually(is_done, timeout_seconds=90, every_seconds=0.02, what=fleet.last_words)

    assert {"Accepted": 60} == Counter(event["outcome"] for event in fleet.events("create"))
    assert most <= 4 * THREADS  # on their way, next, and answered but not written yet


def test_creates_that_become_slow_make_claims_go_stale_once(fleet):
    """Quick ones let a worker claim ahead; the first slow one ends that, and a stale claim is no quick create."""
    fleet.sandbox.faults([])
    fleet.submit(rows(60), batch="quick")
    fleet.start(1)
    fleet.closed("quick")
    fleet.sandbox.faults([{"on": "create", "kind": "delay_after", "seconds": POST_WITHIN_SECONDS + 1}])
    fleet.submit(rows(16))
    fleet.closed()

    late = Counter(event["outcome"] for event in fleet.events("create") if event["batch"] == "night")
    assert 16 == late["Accepted"]
    assert late["Unsent"] <= (MOST_A_THREAD - 1) * THREADS


def test_told_to_stop_it_begins_no_more(fleet):
    """It has messages in hand that name the whole batch: what of them is not claimed goes back to the queue."""
    fleet.submit(rows(60))
    (worker,) = fleet.start(1)
    fleet.reached(lambda batch: batch.counts[State.SUCCEEDED] >= THREADS)
    worker.send_signal(signal.SIGTERM)
    begun = int(fleet.sandbox.stats()["arrived"]["create"])
    worker.wait(60)
    batch = fleet.batch()

    assert begun <= fleet.sandbox.stats()["creates_accepted"] <= begun + 4 * THREADS
    assert 0 == batch.counts[State.SUBMITTING]
    assert batch.counts[State.QUEUED] > 0
    fleet.start(1)
    assert 60 == fleet.closed().counts[State.SUCCEEDED] == fleet.sandbox.stats()["creates_accepted"]
