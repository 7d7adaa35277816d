"""The stand-in provider answers as the vendor's documents and recordings say."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import requests
from PIL import Image

from tests.edges.sandbox_orders import order
from tests.servers.sandbox import SandboxServer
from tests.servers.waiting import eventually

REQUIRED = {
    "id",
    "model",
    "version",
    "input",
    "output",
    "data_removed",
    "error",
    "status",
    "created_at",
    "urls",
}  # by the vendor's API description


def test_a_finished_prediction_has_all_documented_fields(server: SandboxServer) -> None:
    """Required ones and those a finished run adds; its input is what was sent, without defaults."""
    done = server.finished(server.create(prompt="a hill", seed=5)["id"])

    assert set() == REQUIRED - done.keys()
    assert {"started_at", "completed_at", "metrics", "logs", "source"} <= done.keys()
    assert ({"prompt": "a hill", "seed": 5}, None, False) == (done["input"], done["error"], done["data_removed"])
    assert 0 < done["metrics"]["predict_time"] < done["metrics"]["total_time"]
    assert {"get", "cancel", "web"} == done["urls"].keys()


def test_fresh_objects_may_lack_fields(server: SandboxServer) -> None:
    """As recorded: some come without `output` and `data_removed`, which the description requires."""
    server.faults([{"on": "create", "kind": "slow_start"}])
    fresh = [server.create(prompt="a hill", seed=seed) for seed in range(20)]
    missing = {frozenset(REQUIRED - shown.keys()) for shown in fresh}

    assert {frozenset(), frozenset({"output", "data_removed"})} == missing
    assert not any("started_at" in shown for shown in fresh)


def test_time_stamps_have_three_to_nine_digits(server: SandboxServer) -> None:
    """In no fixed number, so a reader must take any."""
    stamps = [server.create(prompt="a hill", seed=seed)["created_at"] for seed in range(60)]
    lengths = {len(stamp.partition(".")[2].rstrip("Z")) for stamp in stamps}

    assert set(range(3, 10)) == lengths


def test_pictures_are_real_and_need_no_token(server: SandboxServer) -> None:
    """Each index its own file of the size asked for, its length declared, the prompt inside."""
    done = server.finished(server.create(prompt="two hills", seed=5, num_outputs=2, width=256, height=128)["id"])
    replies = [requests.get(url, timeout=10) for url in done["output"]]
    pictures = [Image.open(io.BytesIO(reply.content)) for reply in replies]

    assert ["out-0.png", "out-1.png"] == [url.rpartition("/")[2] for url in done["output"]]
    assert [(256, 128), (256, 128)] == [picture.size for picture in pictures]
    assert all(int(reply.headers["Content-Length"]) == len(reply.content) for reply in replies)
    assert replies[0].content != replies[1].content
    assert "two hills" in pictures[0].info["Description"]
    assert (2, 0) == (server.stats()["files"], server.stats()["files_with_token"])


def test_the_control_list_tells_exact_times(server: SandboxServer) -> None:
    """When each prediction was made and ended, to the nanosecond; one that still runs has no end."""
    done = server.finished(server.create(prompt="a hill")["id"])
    server.faults([{"on": "create", "kind": "slow_run"}])
    server.create(prompt="a sea")
    first, second = server.predictions()

    assert done["completed_at"].removesuffix("Z") == first["completed_at"][: len(done["completed_at"]) - 1]
    assert first["created_at"] < first["completed_at"]
    assert None is second["completed_at"]


def test_a_seed_left_blank_is_two_random_bytes(server: SandboxServer) -> None:
    """Told in the logs only."""
    done = server.finished(server.create(prompt="a hill")["id"])
    (listed,) = server.predictions()

    assert "seed" not in done["input"]
    assert f"Using seed: {listed['seed']}\n" in done["logs"]
    assert 0 <= listed["seed"] < 65_536


def test_filtered_pictures_are_dropped_silently(server: SandboxServer) -> None:
    """Fewer than asked for, named by their original index; the dropped ones are nowhere."""
    done = server.finished(server.create(prompt="nsfw-some", num_outputs=4, seed=3)["id"])
    names = {url.rpartition("/")[2] for url in done["output"]}
    folder = done["output"][0].rpartition("/")[0]
    served = {name for name in (f"out-{i}.png" for i in range(4)) if requests.get(f"{folder}/{name}", timeout=10).ok}

    assert "succeeded" == done["status"]
    assert 0 < len(names) < 4
    assert names == served


def test_pictures_all_filtered_are_a_failure(server: SandboxServer) -> None:
    """With the model's own text."""
    done = server.finished(server.create(prompt="nsfw", num_outputs=2)["id"])

    assert ("failed", "NSFW content detected. Try running it again, or try a different prompt.") == (
        done["status"],
        done["error"],
    )


def test_created_after_is_inclusive_and_created_before_exclusive(server: SandboxServer) -> None:
    """To the nanosecond; a stamp that was cut short finds its own prediction, too."""
    made = [server.create(prompt="a hill", seed=seed) for seed in range(9)]
    exact = [listed["created_at"] for listed in server.predictions()]

    def ids(**query: str) -> list[str]:
        return [item["id"] for item in server.call("GET", "predictions", params=query).json()["results"]]

    names = [shown["id"] for shown in made]
    assert names[:2:-1] == ids(created_after=exact[3])
    assert names[2::-1] == ids(created_before=exact[3])
    assert names[5:2:-1] == ids(created_after=exact[3], created_before=exact[6])
    assert made[4]["id"] in ids(created_after=made[4]["created_at"])
    assert [] == ids(source="web")


def test_pages_stand_still_while_new_predictions_arrive(server: SandboxServer) -> None:
    """The opaque cursor points between two predictions, not at a distance from the newest."""
    made = [server.create(prompt="a hill", seed=seed)["id"] for seed in range(105)]
    first = server.call("GET", "predictions").json()
    server.create(prompt="a hill", seed=999)
    second = requests.get(first["next"], headers={"Authorization": f"Bearer {server.token}"}, timeout=10).json()

    assert first["next"].startswith(f"{server.url}/v1/predictions?cursor=")
    assert (100, made[4::-1]) == (len(first["results"]), [item["id"] for item in second["results"]])


@pytest.mark.parametrize("query", [{"cursor": "%%"}, {"created_after": "yesterday"}])
def test_a_bad_query_is_refused(server: SandboxServer, query: dict[str, str]) -> None:
    """422, never an empty page that looks like an answer."""
    assert 422 == server.call("GET", "predictions", params=query).status_code


def test_waiting_for_the_end_gives_pictures_as_data(server: SandboxServer) -> None:
    """The recorded trap: 201, still `processing`, and base64 where addresses are expected."""
    reply = server.call("POST", "predictions", json=order(width=128, height=128), headers={"Prefer": "wait=5"})
    shown = reply.json()

    assert (201, "wait=5") == (reply.status_code, reply.headers["Preference-Applied"])
    assert "processing" == shown["status"]
    assert shown["output"][0].startswith("data:image/png;base64,")


def test_waiting_too_short_gives_the_unfinished_object(server: SandboxServer) -> None:
    """202, and it keeps running."""
    server.faults([{"on": "create", "kind": "slow_run"}])
    reply = server.call("POST", "predictions", json=order(), headers={"Prefer": "wait=1"})

    assert (202, "processing") == (reply.status_code, reply.json()["status"])
    assert "completed_at" not in reply.json()


def test_a_deadline_before_the_start_aborts(server: SandboxServer) -> None:
    """Nothing ran, nothing to bill; a deadline while running cancels."""
    server.faults([{"on": "create", "kind": "slow_start", "count": 1}, {"on": "create", "kind": "slow_run"}])
    made = [server.call("POST", "predictions", json=order(), headers={"Cancel-After": "1s"}).json() for _ in range(2)]
    aborted, canceled = (server.finished(shown["id"]) for shown in made)

    assert ("aborted", "canceled") == (aborted["status"], canceled["status"])
    assert {"deadline"} <= made[0].keys()
    assert ("predict_time" in aborted["metrics"], "predict_time" in canceled["metrics"]) == (False, True)


@pytest.mark.parametrize("text", ["0s", "soon", ""])
def test_a_deadline_must_be_a_duration(server: SandboxServer, text: str) -> None:
    """At least the least allowed."""
    reply = server.call("POST", "predictions", json=order(), headers={"Cancel-After": text})

    assert 422 == reply.status_code


def test_cancelling_what_has_ended_changes_nothing(server: SandboxServer) -> None:
    """It answers 200 with the object as it is."""
    done = server.finished(server.create(prompt="a hill", seed=5)["id"])

    assert done == server.call("POST", f"predictions/{done['id']}/cancel").json()


def test_creates_and_other_calls_have_buckets_of_their_own(server: SandboxServer) -> None:
    """A refused create says how long to wait, in the words of 2026; gets go on."""
    server.limits(creates_per_minute=6, burst=1)
    first, second = (server.call("POST", "predictions", json=order()) for _ in range(2))
    gets = [server.call("GET", f"predictions/{first.json()['id']}").status_code for _ in range(3)]
    body = second.json()

    assert ("5", "10") == (first.headers["ratelimit-remaining"], first.headers["ratelimit-reset"])
    assert (429, 429, 10) == (second.status_code, body["status"], body["retry_after"])
    assert "6 requests per minute with a burst of 1. Your rate limit resets in ~10s." in body["detail"]
    assert "Retry-After" not in second.headers
    assert [200, 200, 200] == gets
    assert (1, 0) == (server.stats()["creates_limited"], server.stats()["calls_limited"])


@pytest.mark.parametrize(
    ("hint", "in_header", "in_body", "in_text"),
    [("text", False, False, True), ("header", True, False, False), ("none", False, False, False)],
)
def test_the_wait_can_be_told_elsewhere(
    server: SandboxServer, hint: str, in_header: bool, in_body: bool, in_text: bool
) -> None:
    """Which of them the vendor really uses is not confirmed."""
    server.limits(calls_per_minute=6, burst=1, wait_hint=hint)
    _, reply = (server.call("GET", "account") for _ in range(2))

    assert 429 == reply.status_code
    assert (in_header, in_body, in_text) == (
        "Retry-After" in reply.headers,
        "retry_after" in reply.json(),
        "resets in ~10s" in reply.json()["detail"],
    )


def test_duplicates_are_counted(server: SandboxServer) -> None:
    """By version and input: the provider's side of `paid once`."""
    for seed in (1, 2, 2, 3, 3, 3):
        server.create(prompt="a hill", seed=seed)
    eventually(lambda: server.stats()["predictions"] == {"succeeded": 6}, what="all have ended")
    stats = server.stats()

    assert (6, 3, 2) == (stats["creates_accepted"], stats["duplicates"], stats["inputs_paid_twice"])
    assert {"1": 1, "2": 1, "3": 1} == stats["accepted_per_input"]


def test_data_expire(tmp_path: Path) -> None:
    """The object stays, its input, output and logs go, and so do its files."""
    with SandboxServer(tmp_path, expire_seconds=0.5) as server:
        done = server.finished(server.create(prompt="a hill", num_outputs=2)["id"])
        before = requests.get(done["output"][0], timeout=10).status_code
        gone = eventually(
            lambda: next((seen for seen in [server.get(done["id"])] if seen["data_removed"]), None), what="data expire"
        )
        after = requests.get(done["output"][0], timeout=10).status_code

    assert (200, 404) == (before, after)
    assert gone is not None
    assert ("succeeded", {}, None, "") == (gone["status"], gone["input"], gone["output"], gone["logs"])
    assert done["completed_at"] == gone["completed_at"]
