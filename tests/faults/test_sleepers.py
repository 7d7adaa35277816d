"""Workers that stop and wake up later (SIGSTOP, swap, a closed laptop): what they then say or do changes nothing."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import takewhile
from pathlib import Path

import redis

from imagejobs.queues import SUBMIT, TEND, key_prefix
from imagejobs.states import State
from tests.faults import matrix, windows
from tests.servers.sandbox import SandboxServer
from tests.servers.waiting import eventually
from tests.system.fleet import Fleet, rows
from worker.pulse import RESTS_LONG
from worker.stages.submit import POST_WITHIN_SECONDS

# 5 to send, 5 to connect, 10 to transmit, 3 to read, 1 for the list to settle: see the submitter.
RESOLVE_SECONDS = 24.0
NAP_SECONDS = matrix.lasting(60.0, brief_seconds=RESOLVE_SECONDS + 6)


def test_stopped_between_claim_and_post(paced: Fleet) -> None:
    """For a minute: the others look its creates up and send them; awake, it sends none of them."""
    paced.submit(rows(matrix.jobs()))
    (sleeper,) = paced.start(1)
    _stop_in(paced, windows.claimed, sleeper, at_least=2)
    stopped_at, answered = time.monotonic(), len(paced.events("create", sleeper))
    paced.start(1)
    paced.reached(lambda _: windows.looked_up(paced, "Absent"), timeout_seconds=120)
    recovered_at = time.monotonic()
    time.sleep(max(0.0, stopped_at + NAP_SECONDS - time.monotonic()))  # the nap's length, not a wait for anything
    stolen = windows.jobs_looked_up(paced, "Absent")
    sleeper.send_signal(signal.SIGCONT)
    _spoke_of(paced, sleeper, stolen)
    batch = matrix.finished(paced)

    late = [event["outcome"] for event in paced.events("create", sleeper)[answered:]]
    assert late.count("Unsent") >= len(stolen)
    matrix.proven(
        paced,
        batch,
        fault=f"SIGSTOP for {NAP_SECONDS:g} s between claim and POST",
        injected=len(stolen),
        recovery_seconds=recovered_at - stopped_at,
    )


def test_stopped_between_post_and_commit(paced: Fleet) -> None:
    """The replies are on their way: the others adopt what the list shows; awake, it is not heard."""
    paced.sandbox.faults([{"on": "create", "kind": "delay_after", "seconds": 2.0}])
    paced.submit(rows(matrix.jobs()))
    (sleeper,) = paced.start(1)
    _stop_in(paced, windows.accepted, sleeper, at_least=3)
    stopped_at = time.monotonic()
    waiting = paced.batch().counts[State.SUBMITTING]
    paced.sandbox.faults([])
    paced.start(1)
    eventually(
        lambda: windows.looked_up(paced, "Accepted") + windows.looked_up(paced, "Absent") >= waiting,
        timeout_seconds=120,
        what="all its creates are looked up",
    )
    recovered_at = time.monotonic()
    adopted = windows.jobs_looked_up(paced, "Accepted")
    sleeper.send_signal(signal.SIGCONT)
    _spoke_of(paced, sleeper, adopted)
    batch = matrix.finished(paced)

    matrix.proven(
        paced,
        batch,
        fault="SIGSTOP between POST and commit until others had looked it up",
        injected=len(adopted),
        recovery_seconds=recovered_at - stopped_at,
    )


def test_stopped_while_its_claim_waits_for_the_ledger(tmp_path: Path, redis_url: str, sandbox: SandboxServer) -> None:
    """A claim that is granted late is no fresh one: others may look its creates up already, so none of them is sent."""
    with Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url) as fleet:
        (sleeper,) = fleet.start(1)
        eventually(lambda: _has_begun(fleet), timeout_seconds=60, what="it works, and has nothing to do")
        _stop_idle(fleet, sleeper)
        fleet.submit(rows(matrix.jobs()))
        sent = _unread(fleet)  # but for one that Redis may have handed out while the sleeper was stopped
        with _ledger_locked(fleet):
            sleeper.send_signal(signal.SIGCONT)
            eventually(lambda: _unread(fleet) < sent, timeout_seconds=20, what="one more submit message taken")
            time.sleep(1.0)  # from the queue to the ledger's door, where nobody can see who waits
            sleeper.send_signal(signal.SIGSTOP)
            time.sleep(POST_WITHIN_SECONDS + 2)  # the nap
            sleeper.send_signal(signal.SIGCONT)
        woken_at = time.monotonic()
        fleet.reached(lambda batch: windows.beyond(batch) > 0, timeout_seconds=120)
        recovered_at = time.monotonic()
        batch = matrix.finished(fleet)

        outcomes = [event["outcome"] for event in fleet.events("create", sleeper)]
        matrix.proven(
            fleet,
            batch,
            fault="SIGSTOP while a claim waits for the ledger",
            injected=len(list(takewhile(lambda outcome: outcome == "Unsent", outcomes))),
            recovery_seconds=recovered_at - woken_at,
        )


def _has_begun(fleet: Fleet) -> bool:
    """A worker that connects doubts what was sent before: house-keeping has sent all anew, and has come to its end."""
    prefix = key_prefix(fleet.settings.account_name)
    with redis.Redis.from_url(fleet.environ["REDIS_URL"], decode_responses=True) as server:
        return ["1", RESTS_LONG] == server.mget(f"{prefix}epoch", f"{prefix}due:{TEND}")


def _stop_idle(fleet: Fleet, worker: subprocess.Popen[bytes]) -> None:
    """SIGSTOP, but not in a write: on SQLite, everybody would wait for that to end."""
    worker.send_signal(signal.SIGSTOP)
    while not _may_write(fleet):
        worker.send_signal(signal.SIGCONT)
        worker.send_signal(signal.SIGSTOP)


def _stop_in(fleet: Fleet, window: windows.Window, worker: subprocess.Popen[bytes], *, at_least: int) -> None:
    """SIGSTOP with creates in the window, but not in a write: on SQLite, everybody would wait for that to end."""
    while True:
        windows.enter(fleet, window, at_least=at_least, after_jobs=2)
        worker.send_signal(signal.SIGSTOP)
        if _may_write(fleet):
            return
        worker.send_signal(signal.SIGCONT)


def _may_write(fleet: Fleet) -> bool:
    """Whether nobody holds SQLite's write lock, or gives it back within a second."""
    with closing(sqlite3.connect(fleet.folder / "ledger.sqlite", isolation_level=None, timeout=1.0)) as other:
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        other.execute("ROLLBACK")
        return True


def _spoke_of(fleet: Fleet, worker: subprocess.Popen[bytes], jobs: list[str]) -> None:
    """Wait until the worker has said what became of the creates of these jobs; of some, it had before it was stopped:
    an answer waits for the company of others before it is written."""
    eventually(
        lambda: {event["job_id"] for event in fleet.events("create", worker)} >= set(jobs),
        timeout_seconds=120,
        what=lambda: f"the sleeper has spoken of {jobs}; {fleet.last_words()}",
    )


def _unread(fleet: Fleet) -> int:
    """How many submit messages wait for a worker."""
    with redis.Redis.from_url(fleet.environ["REDIS_URL"]) as server:
        return int(server.llen(key_prefix(fleet.settings.account_name) + SUBMIT))


@contextmanager
def _ledger_locked(fleet: Fleet) -> Iterator[None]:
    """Another program holds SQLite's write lock."""
    with closing(sqlite3.connect(fleet.folder / "ledger.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")
