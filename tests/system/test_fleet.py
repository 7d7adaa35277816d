"""Several worker processes share one account: the allowance is kept, and nothing depends on any one of them."""

from __future__ import annotations

import random
import signal
import time

import pytest
import redis

from imagejobs.queues import STORE, key_prefix
from imagejobs.states import State
from tests.servers.sandbox import SandboxServer
from tests.servers.waiting import eventually
from tests.system.fleet import Fleet, assert_all_stored, assert_paid_once, rows


@pytest.fixture
def fleet(tmp_path, redis_url, sandbox):
    """Workers on SQLite, a folder and the sandbox, without limits."""
    with Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url) as fleet:
        yield fleet


def test_three_workers_keep_one_allowance(tmp_path, redis_url):
    """Three processes on one account's allowance: the provider counts no 429 at all."""
    limits = {"creates_per_minute": 600, "calls_per_minute": 3000}
    with (
        SandboxServer(tmp_path / "sandbox", **limits) as sandbox,
        Fleet(
            tmp_path,
            sandbox=sandbox,
            redis_url=redis_url,
            IMAGEJOBS_CREATES_PER_MINUTE="600",
            IMAGEJOBS_CALLS_PER_MINUTE="3000",
        ) as fleet,
    ):
        fleet.submit(rows(100))
        fleet.start(3)
        batch = fleet.closed()
        stats = sandbox.stats()

        assert (0, 0) == (stats["creates_limited"], stats["calls_limited"])
        assert_paid_once(fleet, batch)
        assert_all_stored(fleet, batch, images=100)


def test_no_record_is_kept_of_messages_in_hand(fleet):
    """The ledger knows what it sent for: a record would cost eight commands a message, and bring it back later."""
    fleet.sandbox.faults([{"on": "file", "kind": "delay", "seconds": 1.0}])
    fleet.submit(rows(60))
    (worker,) = fleet.start(1)
    fleet.reached(lambda batch: batch.counts[State.STORING] > 0)
    with redis.Redis.from_url(fleet.environ["REDIS_URL"], decode_responses=True) as server:
        kept = {key for key in server.scan_iter() if "unacked" in key}
        waiting = server.llen(key_prefix(fleet.settings.account_name) + STORE)
    worker.send_signal(signal.SIGTERM)
    worker.wait(30)
    fleet.start(1)
    batch = fleet.closed()

    assert (set(), 0, 0) == (kept, waiting, worker.returncode)
    assert_paid_once(fleet, batch)
    assert_all_stored(fleet, batch, images=60)


def test_any_worker_may_die_at_any_moment(fleet):
    """kill -9 of a random one of three, again and again: every job is paid for once and stored."""
    fleet.sandbox.faults([{"on": "create", "kind": "delay_after", "seconds": 0.1}])
    dice = random.Random(7)
    fleet.submit(rows(120))
    fleet.start(3)
    fleet.reached(lambda batch: batch.counts[State.QUEUED] < 110)
    for _ in range(5):
        fleet.kill(dice.choice(fleet.workers))
        fleet.start(1)
        fleet.batch()  # asserts that the counts sum
        time.sleep(0.7)  # the pace of the killing, not a wait for anything
    batch = fleet.closed()

    assert_paid_once(fleet, batch)
    assert_all_stored(fleet, batch, images=120)


def test_lost_replies_are_looked_up_and_not_paid_again(fleet):
    """Accepted, and the connection reset: the look-up adopts what the list shows."""
    fleet.sandbox.faults(
        [
            {"on": "create", "kind": "reset_after", "rate": 0.15},
            {"on": "create", "kind": "status_after", "status": 502, "rate": 0.15},
        ]
    )
    fleet.submit(rows(60))
    fleet.start(2)
    batch = fleet.closed()

    assert fleet.sandbox.stats()["replies_lost"] > 5
    assert_paid_once(fleet, batch)
    assert_all_stored(fleet, batch, images=60)


def test_refused_connections_and_5xx_burn_no_money(fleet):
    """What never arrived, or was refused by an edge, is sent again; the provider accepts each job once."""
    fleet.sandbox.faults(
        [
            {"on": "create", "kind": "reset", "rate": 0.1},
            {"on": "create", "kind": "status", "status": 503, "rate": 0.1},
            {"on": "list", "kind": "status", "status": 500, "rate": 0.2},
            {"on": "file", "kind": "truncate", "rate": 0.1},
            {"on": "file", "kind": "status", "status": 503, "rate": 0.1},
        ]
    )
    fleet.submit(rows(60))
    fleet.start(2)
    batch = fleet.closed()

    assert_paid_once(fleet, batch)
    assert_all_stored(fleet, batch, images=60)


def test_transient_failures_are_paid_again_and_counted(fleet):
    """Eight in a hundred predictions fail at the provider: the extra creates are exactly the counted ones."""
    fleet.sandbox.faults(
        [
            {
                "on": "create",
                "kind": "fail",
                "rate": 0.15,
                "error": "Director: unexpected error handling prediction (E9828)",
            }
        ]
    )
    fleet.submit(rows(60))
    fleet.start(2)
    batch = fleet.closed()
    stats = fleet.sandbox.stats()

    assert stats["predictions"]["failed"] == stats["creates_accepted"] - batch.total
    assert batch.creates_sent == stats["creates_accepted"]
    assert_all_stored(fleet, batch, images=60)


def test_forged_and_malformed_messages_harm_nothing(fleet):
    """Whoever can write to Redis can make a worker look at a job, and no more."""
    from imagejobs.queues import STORE, SUBMIT, Broker

    fleet.submit(rows(20))
    broker = Broker(fleet.settings.redis_url, account=fleet.settings.account_name)
    broker.send(SUBMIT, [list(range(1, 21))] * 5)
    broker.send(STORE, [list(range(1, 21)), [999_999]])
    for args in ([], ["rm -rf"], [[]], [[-1]], [{"id": 1}], [["1"]], [None]):
        broker.app.send_task(SUBMIT, args=args, queue=SUBMIT)
    broker.app.send_task("imagejobs.nonsense", args=[[1]], queue=SUBMIT)
    broker.redis.lpush(broker.prefix + SUBMIT, "this is no message")
    broker.close()
    fleet.start(2)
    batch = fleet.closed()

    assert_paid_once(fleet, batch)
    assert_all_stored(fleet, batch, images=20)


def test_several_outputs_of_one_job_are_all_stored(fleet):
    """num_outputs 4: four images, one create."""
    fleet.submit(rows(10, num_outputs=4))
    fleet.start(1)
    batch = fleet.closed()

    assert_paid_once(fleet, batch)
    assert_all_stored(fleet, batch, images=40)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_a_worker_hands_over_within_its_grace(fleet, number):
    """A deploy, or Ctrl-C: the old worker ends, a new one goes on, nothing is paid twice."""
    fleet.submit(rows(80))
    (old,) = fleet.start(1)
    fleet.reached(lambda batch: batch.counts[State.SUCCEEDED] > 5)
    old.send_signal(number)

    assert 0 == old.wait(30)

    fleet.start(1)
    batch = fleet.closed()
    assert_paid_once(fleet, batch)
    assert_all_stored(fleet, batch, images=80)


def test_told_to_stop_while_it_starts_a_worker_ends_in_peace(fleet):
    """A deploy that is taken back at once: nothing is in hand yet, and nothing has gone wrong."""
    (worker,) = fleet.start(1)
    eventually(lambda: fleet.is_up(worker), timeout_seconds=60, every_seconds=0.005, what="the worker is up")
    worker.terminate()

    assert 0 == worker.wait(30)
