"""The stand-in provider answers as the vendor's documents and recordings say."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

from tests.servers.sandbox import STABLE_DIFFUSION, SandboxServer
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


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    with SandboxServer(tmp_path_factory.mktemp("sandbox"), run_seconds=0.05, min_cancel_after_seconds=1) as server:
        yield server


@pytest.fixture
def server(running: SandboxServer) -> SandboxServer:
    running.reset()
    return running


def order(**given: Any) -> dict[str, Any]:
    return {"version": STABLE_DIFFUSION, "input": {"prompt": "a hill", "seed": 5, **given}}


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


@pytest.mark.parametrize(
    ("body", "kind", "field"),
    [
        (order(num_outputs=5), "number_lte", "input.num_outputs"),
        (order(guidance_scale=0.5), "number_gte", "input.guidance_scale"),
        (order(width=192), "enum", "input.width"),
        (order(scheduler="EULER"), "enum", "input.scheduler"),
        (order(seed="five"), "invalid_type", "input.seed"),
        ({**order(), "tags": {}}, "additional_property_not_allowed", "(root)"),
        ({"input": {}}, "required", "(root)"),
        ({**order(), "webhook": "http://example.com/"}, "format", "webhook"),
        ({**order(), "webhook_events_filter": ["done"]}, "enum", "webhook_events_filter"),
    ],
)
def test_bad_input_is_refused_before_it_costs(server: SandboxServer, body: object, kind: str, field: str) -> None:
    """422 as a problem that names each field; nothing is made."""
    reply = server.call("POST", "predictions", json=body)
    (fault,) = reply.json()["invalid_fields"]

    assert (422, "application/problem+json") == (reply.status_code, reply.headers["Content-Type"])
    assert (kind, field) == (fault["type"], fault["field"])
    assert f"- {field}: {fault['description']}\n" == reply.json()["detail"]
    assert (0, {"422": 1}) == (server.stats()["creates_accepted"], server.stats()["creates_refused"])


def test_unknown_keys_inside_the_input_are_let_through(server: SandboxServer) -> None:
    """As the platform always has, and echoed."""
    assert {"mood": "calm"} == server.create(mood="calm")["input"]


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'{"input": {"seed": NaN}}', b'{"input": {"prompt": "\\ud800"}}'])
def test_what_is_no_json_object_is_refused(server: SandboxServer, raw: bytes) -> None:
    """400, whatever was sent."""
    assert 400 == server.call("POST", "predictions", data=raw).status_code


def test_a_whole_number_may_be_written_as_a_float(server: SandboxServer) -> None:
    """JSON knows one kind of number only."""
    done = server.finished(server.create(prompt="ein Hügel 丘", num_outputs=2.0, width=256.0, seed=5.0)["id"])

    assert [200, 200] == [requests.get(url, timeout=10).status_code for url in done["output"]]
    assert "ein Hügel 丘" == done["input"]["prompt"]


@pytest.mark.parametrize(
    ("version", "accepted"),
    [
        (STABLE_DIFFUSION, True),
        (f"stability-ai/stable-diffusion:{STABLE_DIFFUSION}", True),
        (f"somebody/else:{STABLE_DIFFUSION}", False),
        ("stability-ai/stable-diffusion", False),
        ("0" * 64, False),
        ("sandbox/dots", True),
    ],
)
def test_versions_are_known_by_their_names(server: SandboxServer, version: str, accepted: bool) -> None:
    """By hash, with its model, or by the name of an official model; a wrong one is a 422, not a 404."""
    reply = server.call("POST", "predictions", json={"version": version, "input": {"text": "a", "prompt": "a"}})

    if accepted:
        assert 201 == reply.status_code
    else:
        assert (422, "Invalid version or not permitted") == (reply.status_code, reply.json()["title"])


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", "Basic sandbox-token"])
def test_a_wrong_token_is_unauthenticated(server: SandboxServer, header: str) -> None:
    """401 in the recorded words."""
    reply = server.call("GET", "predictions", headers={"Authorization": header})

    assert 401 == reply.status_code
    assert {
        "title": "Unauthenticated",
        "detail": "You did not pass a valid authentication token",
        "status": 401,
    } == reply.json()


def test_the_older_token_scheme_still_works(server: SandboxServer) -> None:
    """`Token …` as well as `Bearer …`."""
    assert server.call("GET", "account", headers={"Authorization": f"Token {server.token}"}).ok


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "predictions/nosuch"),
        ("POST", "predictions/nosuch/cancel"),
        ("GET", "models/no/such"),
        ("GET", f"models/sandbox/dots/versions/{STABLE_DIFFUSION}"),
        ("POST", "models/stability-ai/stable-diffusion/predictions"),
        ("POST", "deployments/no/such/predictions"),
    ],
)
def test_what_does_not_exist_is_404(server: SandboxServer, method: str, path: str) -> None:
    """As a problem, too."""
    reply = server.call(method, path, json={"input": {}})

    assert (404, 404) == (reply.status_code, reply.json()["status"])


def test_too_many_pixels_pass_the_schema_and_fail_at_run_time(server: SandboxServer) -> None:
    """So it is accepted, and billed."""
    done = server.finished(server.create(prompt="a hill", width=1024, height=1024)["id"])

    assert ("failed", None) == (done["status"], done["output"])
    assert done["error"].startswith("Maximum size is 1024x768")


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
