"""Providers that differ: proxies with images for an answer, without a list, with errors of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from imagejobs.errors import Cause
from imagejobs.job import Selection
from imagejobs.states import State
from tests.servers.sandbox import SandboxServer
from tests.system.fleet import Fleet, assert_all_stored, assert_paid_once, rows


@pytest.mark.parametrize("images_as", ["url", "b64"])
def test_a_proxy_that_answers_with_images(tmp_path, redis_url, images_as):
    """`{created, data: […]}` is final at once: nothing to poll."""
    with (
        SandboxServer(tmp_path / "sandbox", dialect="images", images_as=images_as, prefix="/replicate") as sandbox,
        Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url) as fleet,
    ):
        fleet.submit(rows(12, num_outputs=2))
        fleet.start(1)
        batch = fleet.closed()

        assert_paid_once(fleet, batch)
        assert_all_stored(fleet, batch, images=24)


def test_a_provider_without_a_list_is_polled_singly(tmp_path, redis_url):
    """The list is a means; single looks work too."""
    with (
        SandboxServer(tmp_path / "sandbox", dialect="no-list") as sandbox,
        Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url) as fleet,
    ):
        fleet.submit(rows(20))
        fleet.start(2)
        batch = fleet.closed()

        assert_paid_once(fleet, batch)
        assert_all_stored(fleet, batch, images=20)


def test_without_a_list_a_lost_reply_is_held_for_a_person(tmp_path, redis_url):
    """The default: kept aside with a reason; nothing is guessed."""
    with (
        SandboxServer(tmp_path / "sandbox", dialect="no-list") as sandbox,
        Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url) as fleet,
    ):
        sandbox.faults([{"on": "create", "kind": "reset_after", "count": 3}])
        fleet.submit(rows(10))
        fleet.start(1)
        batch = fleet.closed()
        (group,) = fleet.ledger.steering.groups(batch.id, Selection(), now=0.0)

        assert (3, 7, 0) == (
            batch.counts[State.FAILED],
            batch.counts[State.SUCCEEDED],
            batch.possible_double_payments,
        )
        assert (Cause.UNKNOWN_OUTCOME, 3) == (group.cause, group.count)
        assert 10 == sandbox.stats()["creates_accepted"]


def test_without_a_list_resubmitting_is_a_choice_whose_risk_is_counted(tmp_path, redis_url):
    """IMAGEJOBS_ON_UNKNOWN=resubmit: all images come, and every possible double payment is shown."""
    with (
        SandboxServer(tmp_path / "sandbox", dialect="no-list") as sandbox,
        Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url, IMAGEJOBS_ON_UNKNOWN="resubmit") as fleet,
    ):
        sandbox.faults([{"on": "create", "kind": "reset_after", "count": 3}])
        fleet.submit(rows(10))
        fleet.start(1)
        batch = fleet.closed()

        assert 3 == batch.possible_double_payments
        assert 13 == sandbox.stats()["creates_accepted"]
        assert_all_stored(fleet, batch, images=10)


def test_a_refused_token_pauses_and_burns_nothing(tmp_path, redis_url, sandbox):
    """401: the batch says why; no job has used up a try."""
    with Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url, REPLICATE_API_TOKEN="r8_wrong_token") as fleet:
        fleet.submit(rows(10))
        fleet.start(1)
        batch = fleet.reached(lambda batch: batch.paused and batch.counts[State.QUEUED] == 10)

        assert "auth_billing" == batch.paused_kind
        assert "401" in (batch.paused or "")
        assert 0 == sandbox.stats()["creates_accepted"]
        assert "r8_wrong_token" not in fleet.log() + str(batch)


def test_a_false_402_costs_nothing_but_time(tmp_path, redis_url, sandbox):
    """The batch pauses, a probe notices that it is over, and work goes on by itself."""
    sandbox.faults([{"on": "create", "kind": "status", "status": 402}])
    with Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url) as fleet:
        fleet.submit(rows(20))
        fleet.start(2)
        fleet.reached(lambda batch: batch.paused)
        sandbox.faults([])
        batch = fleet.closed()

        assert batch.paused is None
        assert_paid_once(fleet, batch)
        assert_all_stored(fleet, batch, images=20)


def test_safety_filtered_images_are_recorded_as_such(tmp_path, redis_url, sandbox):
    """Some withheld: those that came are kept. All withheld: failed with the provider's words. Never succeeded."""
    with Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url) as fleet:
        specs = [
            {"id": "partial", "prompt": "nsfw-some sunset", "num_outputs": 4, "width": 128, "height": 128},
            {"id": "none", "prompt": "nsfw sunset", "width": 128, "height": 128},
            *rows(3),
        ]
        fleet.submit(specs)
        fleet.start(1)
        batch = fleet.closed()
        groups = fleet.ledger.steering.groups(batch.id, Selection(), now=0.0)

        assert (2, 3) == (batch.counts[State.FAILED], batch.counts[State.SUCCEEDED])
        assert {Cause.SAFETY} == {group.cause for group in groups}
        assert 3 < batch.images < 7
        assert 5 == sandbox.stats()["creates_accepted"]


def test_a_short_set_is_kept_under_its_own_indexes(tmp_path, redis_url, sandbox):
    """In store, manifest and failures: which images came, which did not, and that the job is no success."""
    with Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url) as fleet:
        specs = [
            {"id": f"p{number}", "prompt": f"nsfw-some sunset {number}", "num_outputs": 4, "width": 128, "height": 128}
            for number in range(6)
        ]
        fleet.submit([*specs, {"id": "none", "prompt": "nsfw sunset", "width": 128, "height": 128}])
        fleet.start(1)
        batch = fleet.closed()
        came = {one["input"]["prompt"]: set(one["images"]) for one in sandbox.predictions()}
        expected = {(spec["id"], index) for spec in specs for index in came[spec["prompt"]]}
        folder = tmp_path / "store" / "night"
        manifest = lines_of(folder / "manifest" / "part-00000.jsonl")
        failures = {row["id"]: row for row in lines_of(folder / "failures.jsonl")}

        assert any(came[spec["prompt"]] != set(range(len(came[spec["prompt"]]))) for spec in specs)  # there are gaps
        assert expected == {(row["id"], row["index"]) for row in manifest}
        assert {f"{row_id}-{index}.png" for row_id, index in expected} == {
            file.name for file in (folder / "images").iterdir()
        }
        for spec in specs:
            missing = ", ".join(str(index) for index in range(4) if index not in came[spec["prompt"]])
            assert failures[spec["id"]]["error"].endswith(f"withheld by the safety filter: index {missing}")
        assert {Cause.SAFETY} == {row["cause"] for row in failures.values()}
        assert (7, 0) == (batch.counts[State.FAILED], batch.counts[State.SUCCEEDED])
        assert "NSFW" in failures["none"]["error"]


def lines_of(file: Path) -> list[dict[str, Any]]:
    """A file of JSON lines."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_an_output_that_expired_before_it_was_copied_is_generated_again_and_counted(tmp_path, redis_url):
    """The paid kind of retry, once for each, and only because nothing can be fetched any more."""
    with (
        SandboxServer(tmp_path / "sandbox", expire_seconds=3) as sandbox,
        Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url, IMAGEJOBS_KEEP_SECONDS="3") as fleet,
    ):
        sandbox.faults([{"on": "file", "kind": "status", "status": 503, "for_seconds": 12}])
        fleet.submit(rows(4))
        fleet.start(1)
        batch = fleet.closed()

        assert sandbox.stats()["creates_accepted"] > 4
        assert batch.creates_sent == sandbox.stats()["creates_accepted"]
        assert_all_stored(fleet, batch, images=4)
