"""The two kinds of retry, by the real command: copying again is free, generating again is paid."""

from __future__ import annotations

from imagejobs.states import State
from tests.servers.sandbox import SandboxServer
from tests.system.fleet import Fleet, assert_all_stored, rows


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

        assert 3 == failed.counts[State.FAILED]
        assert 0 == retried.returncode, retried.stderr
        assert 11 == sandbox.stats()["creates_accepted"] == batch.creates_sent
        assert_all_stored(fleet, batch, images=8)


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
