"""Every fault that the stand-in provider can be told to make is made."""

from __future__ import annotations

import time
from typing import Any

import pytest
import requests

from tests.servers.sandbox import STABLE_DIFFUSION, SandboxServer
from tests.servers.waiting import eventually

SMALL = {"prompt": "a hill", "width": 256, "height": 256}


def post(server: SandboxServer, **given: Any) -> requests.Response:
    return server.call("POST", "predictions", json={"version": STABLE_DIFFUSION, "input": {**SMALL, **given}})


class TestExchange:
    """Faults of the exchange itself."""

    @pytest.mark.parametrize("status", [401, 402, 403, 422, 429, 500, 503])
    def test_a_status_replaces_the_operation(self, server: SandboxServer, status: int) -> None:
        """As a problem in the usual words; nothing is made."""
        server.faults([{"on": "create", "kind": "status", "status": status, "headers": {"Retry-After": 7}}])
        reply = post(server)

        assert (status, status, "7") == (reply.status_code, reply.json()["status"], reply.headers["Retry-After"])
        assert (0, {str(status): 1}) == (server.stats()["creates_accepted"], server.stats()["creates_refused"])

    @pytest.mark.parametrize(
        ("body", "media_type"),
        [("<h1>Bad gateway</h1>", "text/html"), ({"retry_after": 3}, "application/problem+json")],
    )
    def test_a_status_brings_any_body(self, server: SandboxServer, body: object, media_type: str) -> None:
        """An edge's HTML page, or JSON of any shape."""
        server.faults([{"on": "get", "kind": "status", "status": 502, "body": body}])
        reply = server.call("GET", "predictions/any")

        assert (502, media_type) == (reply.status_code, reply.headers["Content-Type"].partition(";")[0])
        assert body == (reply.text if isinstance(body, str) else reply.json())

    def test_a_reset_before_handling_makes_nothing(self, server: SandboxServer) -> None:
        """The connection is reset and the server knows of no prediction."""
        server.faults([{"on": "create", "kind": "reset"}])
        with pytest.raises(requests.ConnectionError):
            post(server)

        assert (0, 0) == (server.stats()["creates_accepted"], server.stats()["replies_lost"])

    @pytest.mark.parametrize("kind", ["reset_after", "status_after"])
    def test_a_lost_reply_leaves_a_prediction_behind(self, server: SandboxServer, kind: str) -> None:
        """Accepted and running, though its caller was told nothing, or that it failed."""
        server.faults([{"on": "create", "kind": kind, "count": 1}])
        if kind == "reset_after":
            with pytest.raises(requests.ConnectionError):
                post(server)
        else:
            assert 502 == post(server).status_code

        assert (1, 1) == (server.stats()["creates_accepted"], server.stats()["replies_lost"])
        assert SMALL == server.call("GET", "predictions").json()["results"][0]["input"]

    @pytest.mark.parametrize(("kind", "accepted"), [("delay", 0), ("delay_after", 1)])
    def test_a_delay_holds_the_call_or_its_reply(self, server: SandboxServer, kind: str, accepted: int) -> None:
        """A caller that gives up sees the same; whether it was accepted by then is the difference."""
        server.faults([{"on": "create", "kind": kind, "seconds": 0.8}])
        with pytest.raises(requests.ReadTimeout):
            server.call("POST", "predictions", json={"version": STABLE_DIFFUSION, "input": SMALL}, timeout=(2, 0.3))

        assert accepted == server.stats()["creates_accepted"]

    def test_a_slow_body_comes_in_pieces(self, server: SandboxServer) -> None:
        """Whole in the end."""
        server.faults([{"on": "account", "kind": "slow_body", "seconds": 0.4}])
        began = time.monotonic()
        name = server.call("GET", "account").json()["username"]

        assert "sandbox" == name
        assert time.monotonic() - began >= 0.4

    def test_faults_end(self, server: SandboxServer) -> None:
        """After their count, or with an empty list of rules."""
        server.faults([{"on": "create", "kind": "status", "status": 402, "count": 1}])
        statuses = [post(server).status_code for _ in range(2)]
        server.faults([{"on": "create", "kind": "status"}])
        server.faults([])

        assert [402, 201, 201] == [*statuses, post(server).status_code]

    def test_rules_with_mistakes_are_refused(self, server: SandboxServer) -> None:
        """And the old rules stay."""
        server.faults([{"on": "create", "kind": "status", "status": 402}])
        with pytest.raises(ValueError, match="rule 1"):
            server.faults([{"on": "create", "kind": "huge"}])

        assert 402 == post(server).status_code


class TestFate:
    """Faults that decide what becomes of a prediction."""

    def finished(self, server: SandboxServer, rule: dict[str, Any], **given: Any) -> dict[str, Any]:
        server.faults([{"on": "create", **rule}])
        return server.finished(post(server, **given).json()["id"])

    def test_fail(self, server: SandboxServer) -> None:
        """With the text given."""
        done = self.finished(server, {"kind": "fail", "error": "CUDA out of memory"})

        assert ("failed", "CUDA out of memory", None) == (done["status"], done["error"], done["output"])

    def test_slow_start(self, server: SandboxServer) -> None:
        """Minutes of `starting` for the prompts it matches."""
        server.faults([{"on": "create", "kind": "slow_start", "seconds": 300, "match": "hill"}])
        slow, quick = post(server).json(), post(server, prompt="a sea").json()

        assert "succeeded" == server.finished(quick["id"])["status"]
        assert "starting" == server.get(slow["id"])["status"]

    def test_data_uri(self, server: SandboxServer) -> None:
        """Pictures inside the object, in get and list alike."""
        done = self.finished(server, {"kind": "data_uri"}, num_outputs=2)
        (listed,) = server.call("GET", "predictions").json()["results"]

        assert [True, True] == [uri.startswith("data:image/png;base64,iVBOR") for uri in done["output"]]
        assert done["output"] == listed["output"]

    def test_null_output(self, server: SandboxServer) -> None:
        """Succeeded with nothing, and nothing removed."""
        done = self.finished(server, {"kind": "null_output"})

        assert ("succeeded", None, False) == (done["status"], done["output"], done["data_removed"])

    def test_data_removed(self, server: SandboxServer) -> None:
        """Succeeded, and too late from the first moment on."""
        done = self.finished(server, {"kind": "data_removed"})

        assert ("succeeded", None, True, {}) == (done["status"], done["output"], done["data_removed"], done["input"])

    @pytest.mark.parametrize("keep", [0, 1])
    def test_partial(self, server: SandboxServer, keep: int) -> None:
        """Fewer pictures than asked for, down to an empty list."""
        done = self.finished(server, {"kind": "partial", "keep": keep}, num_outputs=3)

        assert ("succeeded", keep) == (done["status"], len(done["output"]))

    def test_output_url(self, server: SandboxServer) -> None:
        """An address of somebody else's."""
        done = self.finished(server, {"kind": "output_url", "url": "http://169.254.169.254/x.png"}, num_outputs=2)

        assert ["http://169.254.169.254/x.png"] * 2 == done["output"]

    def test_unknown_status(self, server: SandboxServer) -> None:
        """A word nobody knows, for a while or for ever; a cancel ends it."""
        server.faults([{"on": "create", "kind": "unknown_status", "status": "pausing", "for_ever": True}])
        made = post(server).json()
        eventually(lambda: server.get(made["id"])["status"] == "pausing", what="the unknown word is shown")

        assert "canceled" == server.call("POST", f"predictions/{made['id']}/cancel").json()["status"]

    def test_no_deadline(self, server: SandboxServer) -> None:
        """A provider that takes Cancel-After and forgets it, as some proxies do."""
        server.faults([{"on": "create", "kind": "no_deadline", "match": "hill"}])
        limit = {"headers": {"Cancel-After": "5s"}}
        made = [
            server.call("POST", "predictions", json={"version": STABLE_DIFFUSION, "input": {"prompt": prompt}}, **limit)
            for prompt in ("a hill", "a sea")
        ]

        assert [False, True] == ["deadline" in reply.json() for reply in made]


class TestView:
    """Faults in how objects are shown."""

    def test_dropped_fields(self, server: SandboxServer) -> None:
        """Reported of list items: no logs, no version."""
        post(server)
        server.faults([{"on": "list", "kind": "drop_fields", "fields": ["logs", "version"]}])
        (item,) = server.call("GET", "predictions").json()["results"]

        assert set() == {"logs", "version"} & item.keys()
        assert "input" in item

    def test_created_at_differs_between_looks(self, server: SandboxServer) -> None:
        """So it is no key."""
        made = post(server).json()
        server.faults([{"on": "get", "kind": "created_at_shift", "seconds": 0.033}])

        assert made["created_at"] != server.get(made["id"])["created_at"]

    def test_the_list_lags(self, server: SandboxServer) -> None:
        """What was just made is not in it yet, though it can be got."""
        server.faults([{"on": "list", "kind": "list_lag", "seconds": 0.5}])
        made = post(server).json()
        at_once = server.call("GET", "predictions").json()["results"]
        eventually(lambda: server.call("GET", "predictions").json()["results"], what="the list catches up")

        assert ([], made["id"]) == (at_once, server.get(made["id"])["id"])

    def test_the_list_is_shuffled(self, server: SandboxServer) -> None:
        """All of it, in no order."""
        made = [post(server, seed=seed).json()["id"] for seed in range(20)]
        server.faults([{"on": "list", "kind": "shuffle"}])
        listed = [item["id"] for item in server.call("GET", "predictions").json()["results"]]

        assert made[::-1] != listed
        assert sorted(made) == sorted(listed)


def test_no_fault_is_an_error_of_the_server_itself(running: SandboxServer) -> None:
    """After all the tests above its log holds no trace."""
    assert "Traceback" not in running.log.read_text()
