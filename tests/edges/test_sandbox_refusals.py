"""What the stand-in provider refuses, before it costs anything, and what it lets through."""

from __future__ import annotations

import pytest
import requests

from tests.edges.sandbox_orders import order
from tests.servers.sandbox import STABLE_DIFFUSION, SandboxServer


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
