"""The two kinds of retry, by the real command: copying again is free, generating again is paid."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
from typing import Any

from imagejobs.states import State
from tests.servers.sandbox import SandboxServer
from tests.servers.waiting import eventually
from tests.system.fleet import ROOT, Fleet, assert_all_stored, rows

BAD_INPUT = {"on": "create", "kind": "fail", "error": "CUDA out of memory"}  # not tried again by itself


class Asked:
    """`imagejobs retry night` at a terminal, up to its question."""

    def __init__(self, fleet: Fleet) -> None:
        self._terminal, other = pty.openpty()
        os.set_blocking(self._terminal, False)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "producer", "retry", "night"],
            env={**os.environ, **fleet.environ, "COLUMNS": "160"},
            cwd=ROOT,
            stdin=other,
            stdout=other,
            stderr=other,
        )
        os.close(other)
        self.shown = ""
        eventually(lambda: "Do it?" in self._read(), timeout_seconds=60, what="it asks")

    def _read(self) -> str:
        with contextlib.suppress(OSError):  # nothing yet, or nothing more
            self.shown += os.read(self._terminal, 65536).decode(errors="replace")
        return self.shown

    def answer(self, text: str) -> int:
        """Returns the exit code."""
        os.write(self._terminal, f"{text}\n".encode())
        code = eventually(lambda: self._read() and self._process.poll() is not None, timeout_seconds=60, what="its end")
        os.close(self._terminal)
        assert code
        return int(self._process.returncode)


def planned(fleet: Fleet, *options: str) -> tuple[int, int, int]:
    """What `retry --dry-run` says it would do: how many jobs, free, paid."""
    facts = json.loads(fleet.command("retry", "night", *options, "--dry-run", "--json").stdout)
    assert sum(group["count"] for group in facts["groups"]) == facts["count"]
    assert (0, 0) == (facts["copied_again"], facts["generated_again"])
    return facts["count"], facts["free"], facts["paid"]


def attempts(fleet: Fleet, row_id: str) -> list[dict[str, Any]]:
    """Every attempt of a job."""
    return fleet.ledger.views.history(fleet.batch().id, row_id)


def test_what_is_still_at_the_provider_is_copied_again_for_free(tmp_path, redis_url, sandbox: SandboxServer):
    """Outputs that could not be had fail as `download`; the retry fetches them, and no create is sent."""
    sandbox.faults([{"on": "file", "kind": "bomb"}])
    with Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url) as fleet:
        fleet.submit(rows(6))
        fleet.start(1)
        failed = fleet.closed()
        listed = fleet.command("failures", "night")
        previewed = fleet.command("retry", "night", "--dry-run")
        sandbox.faults([])
        retried = fleet.command("retry", "night", "--yes")
        batch = fleet.closed()

        assert 6 == failed.counts[State.FAILED], fleet.log()[-2000:]
        assert "download" in listed.stdout
        assert (0, 0) == (previewed.returncode, retried.returncode), previewed.stderr + retried.stderr
        assert "free" in previewed.stdout + previewed.stderr
        assert 6 == sandbox.stats()["creates_accepted"] == batch.creates_sent
        assert_all_stored(fleet, batch, images=6)


def test_what_must_be_generated_again_is_paid_for_exactly_so_often(tmp_path, redis_url, sandbox: SandboxServer):
    """A failed prediction has no output: only the selection that was shown is sent again, once each."""
    sandbox.faults([{"on": "create", "kind": "fail", "error": "CUDA out of memory", "count": 3}])
    with Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url) as fleet:
        fleet.submit(rows(8))
        fleet.start(1)
        failed = fleet.closed()
        retried = fleet.command("retry", "night", "--cause", "input", "--yes")
        batch = fleet.closed()

        again = next(row for row in fleet.ledger.views.job_rows(batch.id) if row["attempt"] == 2)["row_id"]
        told = json.loads(fleet.command("failures", "night", "--id", again, "--json").stdout)["attempts"]
        shown = fleet.command("failures", "night", "--id", again)
        nobody = fleet.command("failures", "night", "--id", "r9999")

        assert [(1, None, "failed"), (2, "retry", "succeeded")] == [
            (one["attempt"], one["why"], one["outcome"]) for one in told
        ]
        assert (0, 2) == (shown.returncode, nobody.returncode)
        assert all(one["prediction_id"] in shown.stdout for one in told)
        assert 3 == failed.counts[State.FAILED]
        assert 0 == retried.returncode, retried.stderr
        assert 11 == sandbox.stats()["creates_accepted"] == batch.creates_sent
        assert_all_stored(fleet, batch, images=8)


def test_every_selection_is_shown_first_and_then_just_that_is_done(tmp_path, redis_url, sandbox: SandboxServer):
    """By cause, by id, by age: `--dry-run` tells what is free and what is paid, and changes nothing."""
    sandbox.faults(
        [{**BAD_INPUT, "match": "lighthouse 1"}, {"on": "file", "kind": "bomb", "match": "lighthouse 2", "count": 2}]
    )
    with Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url) as fleet:
        fleet.submit([*rows(30), {"id": "unsafe", "prompt": "nsfw sunset", "width": 128, "height": 128}])
        fleet.start(1)
        failed = fleet.closed()

        assert (14, 2, 12) == planned(fleet)
        assert (2, 2, 0) == planned(fleet, "--cause", "download")
        assert (3, 2, 1) == planned(fleet, "--cause", "download", "--cause", "safety")
        assert (2, 0, 2) == planned(fleet, "--id", "r0001", "--id", "unsafe")
        assert (0, 0, 0) == planned(fleet, "--older-than", "1h")
        assert (14, 2, 12) == planned(fleet, "--older-than", "0.5s")
        unasked = fleet.command("retry", "night")
        assert 2 == unasked.returncode
        assert "2 copied again for free, 12 generated again and paid: add --yes" in unasked.stderr
        assert failed == fleet.batch()

        sandbox.faults([])
        paid = json.loads(fleet.command("retry", "night", "--id", "r0001", "--id", "r0011", "--yes", "--json").stdout)
        batch = fleet.closed()
        assert (0, 2) == (paid["copied_again"], paid["generated_again"])
        assert (33, 33) == (sandbox.stats()["creates_accepted"], batch.creates_sent)
        assert [None, "retry"] == [attempt["why"] for attempt in attempts(fleet, "r0001")]

        free = json.loads(fleet.command("retry", "night", "--cause", "download", "--yes", "--json").stdout)
        batch = fleet.closed()
        assert (2, 0) == (free["copied_again"], free["generated_again"])
        assert (33, 33) == (sandbox.stats()["creates_accepted"], batch.creates_sent)
        assert {1} == {len(attempts(fleet, row_id)) for row_id in ("r0002", "r0020", "r0021")}
        assert (10, 21) == (batch.counts[State.FAILED], batch.counts[State.SUCCEEDED])


def test_what_fails_while_a_person_reads_the_list_is_not_touched(tmp_path, redis_url, sandbox: SandboxServer):
    """The list is what was agreed to; what came later was not on it."""
    with Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url) as fleet:
        slow = {"on": "create", "kind": "slow_run", "seconds": 5.0, "match": "lighthouse 1"}
        sandbox.faults([BAD_INPUT, slow])
        fleet.submit(rows(4))
        (worker,) = fleet.start(1)
        fleet.reached(lambda batch: (3, 1) == (batch.counts[State.FAILED], batch.counts[State.RUNNING]))
        fleet.kill(worker)
        asked = Asked(fleet)
        fleet.start(1)
        fleet.reached(lambda batch: batch.counts[State.FAILED] == 4)
        sandbox.faults([])
        code = asked.answer("y")
        batch = fleet.closed()

        assert 0 == code, asked.shown
        assert "3 jobs: 0 copied again for free, 3 generated again and paid" in asked.shown
        assert (1, 3) == (batch.counts[State.FAILED], batch.counts[State.SUCCEEDED])
        assert 7 == sandbox.stats()["creates_accepted"] == batch.creates_sent
        assert 1 == len(attempts(fleet, "r0001"))


def test_logs_hold_ids_and_no_prompt_and_no_token(tmp_path, redis_url, sandbox: SandboxServer):
    """What a log is shared with is not asked to keep secrets."""
    with Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url) as fleet:
        fleet.submit(rows(3))
        fleet.start(1)
        fleet.closed()

        assert "r0001" in fleet.log()
        assert '"batch": "night"' in fleet.log()
        assert "lighthouse" not in fleet.log()
        assert sandbox.token not in fleet.log()
