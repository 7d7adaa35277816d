"""Webhooks as a second proof and a quicker look: a real receiver, told by the stand-in provider."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import requests

from imagejobs.states import State
from tests.servers.ports import free_port
from tests.servers.sandbox import SandboxServer
from tests.servers.waiting import eventually
from tests.system.fleet import ROOT, Fleet, assert_all_stored, assert_paid_once, rows


@pytest.fixture
def told(tmp_path, redis_url, request):
    """A fleet whose creates name a receiver that listens; the sandbox's options are the test's own."""
    port = free_port()
    with (
        SandboxServer(tmp_path / "sandbox", **getattr(request, "param", {})) as sandbox,
        Fleet(
            tmp_path, sandbox=sandbox, redis_url=redis_url, IMAGEJOBS_WEBHOOK_URL=f"http://127.0.0.1:{port}/in"
        ) as fleet,
        (tmp_path / "receiver.log").open("wb") as log,
    ):
        receiver = subprocess.Popen(
            [sys.executable, "-m", "producer", "webhooks", "--port", str(port)],
            env={**os.environ, **fleet.environ},
            cwd=ROOT,
            stdout=log,
            stderr=log,
        )
        eventually(
            lambda: requests.get(f"http://127.0.0.1:{port}/", timeout=5).ok,
            timeout_seconds=30,
            ignoring=(OSError,),
            what=lambda: f"the receiver listens; {(tmp_path / 'receiver.log').read_text()}",
        )
        yield fleet
        receiver.terminate()
        assert 0 == receiver.wait(30)


@pytest.mark.parametrize("told", [{"dialect": "no-list"}], indirect=True)
def test_where_there_is_no_list_a_webhook_answers_for_a_lost_reply(told):
    """Nothing is held, nothing is paid twice: the attempt stands in the webhook's address."""
    told.sandbox.faults([{"on": "create", "kind": "reset_after", "rate": 0.3}])
    told.submit(rows(40))
    told.start(2)
    batch = told.closed()

    assert told.sandbox.stats()["replies_lost"] > 3
    assert 0 == batch.possible_double_payments
    assert_paid_once(told, batch)
    assert_all_stored(told, batch, images=40)


@pytest.mark.parametrize("told", [{"run_seconds": 6}], indirect=True)
def test_forged_webhooks_change_nothing(told):
    """Unsigned, or with another's body: refused, and the job goes its way."""
    told.submit(rows(2))
    told.start(1)
    told.reached(lambda batch: batch.counts[State.RUNNING] == 2)
    body = {**told.sandbox.get(told.sandbox.predictions()[0]["id"]), "status": "failed", "error": "forged"}
    forged = requests.post(f"{told.settings.webhook_url}?attempt=1.1.{'0' * 12}", json=body, timeout=5)
    batch = told.closed()

    assert 401 == forged.status_code
    assert_paid_once(told, batch)
    assert_all_stored(told, batch, images=2)
