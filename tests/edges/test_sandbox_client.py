"""The vendor's own client works against the stand-in provider."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import replicate
from replicate.exceptions import ModelError, ReplicateError
from replicate.webhook import Webhooks

from tests.servers.sandbox import STABLE_DIFFUSION, SandboxServer
from tests.servers.waiting import eventually


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    with SandboxServer(tmp_path_factory.mktemp("sandbox")) as running:
        yield running


@pytest.fixture
def client(server: SandboxServer) -> Iterator[replicate.Client]:
    server.reset()
    made = replicate.Client(api_token=server.token, base_url=server.url)
    made.poll_interval = 0.05
    yield made
    made._client.close()  # it has no public way, and open sockets are errors here


def test_create_poll_and_output(client: replicate.Client) -> None:
    """A prediction is created, waited for, and has its pictures, logs and progress."""
    prediction = client.predictions.create(STABLE_DIFFUSION, {"prompt": "a hill", "num_outputs": 2, "seed": 5})
    first = prediction.status
    prediction.wait()

    assert ("starting", "succeeded", 2) == (first, prediction.status, len(prediction.output or []))
    assert "Using seed: 5" in str(prediction.logs)
    assert prediction.progress is not None
    assert 1.0 == prediction.progress.percentage


def test_run_waits_and_returns_files(client: replicate.Client) -> None:
    """The client's one-call form, which asks the server to wait, reads the pictures it gets."""
    files = client.run(f"stability-ai/stable-diffusion:{STABLE_DIFFUSION}", {"prompt": "a hill"})

    assert [b"\x89PNG"] == [file.read()[:4] for file in files]


def test_a_failed_run_raises_its_error(client: replicate.Client, server: SandboxServer) -> None:
    """With the text that the provider gave."""
    server.faults([{"on": "create", "kind": "fail", "error": "Prediction interrupted; please retry (code: PA)"}])

    with pytest.raises(ModelError, match="code: PA"):
        client.run(f"stability-ai/stable-diffusion:{STABLE_DIFFUSION}", {"prompt": "a hill"})


def test_cancel(client: replicate.Client, server: SandboxServer) -> None:
    """A running prediction ends as canceled, at once."""
    server.faults([{"on": "create", "kind": "slow_run", "seconds": 60}])
    prediction = client.predictions.create(STABLE_DIFFUSION, {"prompt": "a hill"})
    eventually(lambda: client.predictions.get(prediction.id).status == "processing", what="it runs")
    prediction.cancel()

    assert ("canceled", None) == (prediction.status, prediction.output)


def test_list_pages(client: replicate.Client) -> None:
    """120 predictions are two pages, newest first, nothing twice."""
    made = [client.predictions.create(STABLE_DIFFUSION, {"prompt": "a hill", "seed": i}).id for i in range(120)]
    first = client.predictions.list()
    second = client.predictions.list(first.next)
    back = client.predictions.list(second.previous)

    assert made[::-1] == [prediction.id for prediction in [*first, *second]]
    assert (None, None) == (first.previous, second.next)
    assert [prediction.id for prediction in first] == [prediction.id for prediction in back]


def test_models_versions_and_account(client: replicate.Client) -> None:
    """The lookups that a program makes before it spends anything."""
    model = client.models.get("stability-ai/stable-diffusion")
    version = model.versions.get(STABLE_DIFFUSION)

    assert [STABLE_DIFFUSION] == [listed.id for listed in model.versions.list()]
    assert "num_outputs" in version.openapi_schema["components"]["schemas"]["Input"]["properties"]
    assert "sandbox" == client.accounts.current().username


def test_official_model_and_deployment(client: replicate.Client) -> None:
    """Both ways to create without naming a version."""
    dots = client.models.predictions.create("sandbox/dots", {"text": "blue"})
    night = client.deployments.predictions.create("sandbox/night", {"prompt": "a hill"})
    dots.wait()

    assert ("hidden", True) == (dots.version, str(dots.output).endswith("/out-0.png"))
    assert STABLE_DIFFUSION == night.version


def test_a_refusal_is_understood(client: replicate.Client) -> None:
    """Status, title and detail come through."""
    with pytest.raises(ReplicateError) as caught:
        client.predictions.create(STABLE_DIFFUSION, {"prompt": "a hill", "num_outputs": 9})

    assert (422, "Input validation failed") == (caught.value.status, caught.value.title)
    assert "- input.num_outputs: Must be less than or equal to 4\n" == caught.value.detail


class Receiver(http.server.BaseHTTPRequestHandler):
    """Answers 500 to its first webhook and 200 to all later ones; keeps what came."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        received: list[tuple[dict[str, str], str]] = self.server.received  # type: ignore[attr-defined]
        received.append((dict(self.headers), body))
        self.send_response(500 if len(received) == 1 else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet: pytest shows what matters."""


@pytest.fixture
def receiver() -> Iterator[http.server.ThreadingHTTPServer]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        server.received = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def test_webhook_is_signed_and_sent_again(client: replicate.Client, receiver: http.server.ThreadingHTTPServer) -> None:
    """The client's own check accepts the signature; what was answered 500 comes again under the same id."""
    url = f"http://127.0.0.1:{receiver.server_port}/?attempt=7"
    made = client.predictions.create(
        STABLE_DIFFUSION, {"prompt": "a hill"}, webhook=url, webhook_events_filter=["completed"]
    )
    received: list[tuple[dict[str, str], str]] = receiver.received  # type: ignore[attr-defined]
    eventually(lambda: len(received) == 2, what="the webhook comes again")
    (first, _), (headers, body) = received
    secret = client.webhooks.default.secret()
    Webhooks.validate(headers=headers, body=body, secret=secret, tolerance=30)  # raises where it is not right

    assert first["webhook-id"] == headers["webhook-id"]
    assert (made.id, "succeeded") == (json.loads(body)["id"], json.loads(body)["status"])


def test_webhooks_survive_a_restart(tmp_path: Path, receiver: http.server.ThreadingHTTPServer) -> None:
    """A prediction that ends while the server is down is still reported."""
    receiver.received.append(({}, "so that all are answered 200"))  # type: ignore[attr-defined]
    with SandboxServer(tmp_path) as server:
        url = f"http://127.0.0.1:{receiver.server_port}/"
        body = {"version": STABLE_DIFFUSION, "input": {"prompt": "a hill"}, "webhook": url}
        made = server.call("POST", "predictions", json=body).json()
        server.restart()
        received: list[tuple[dict[str, str], str]] = receiver.received  # type: ignore[attr-defined]
        eventually(lambda: len(received) > 1, what="the webhook comes")

    assert made["id"] == json.loads(received[1][1])["id"]
