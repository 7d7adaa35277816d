"""The stand-in provider as a program: options, dialects, journal, start and end."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.servers.sandbox import STABLE_DIFFUSION, SandboxServer
from tests.servers.waiting import eventually

ORDER = {"version": STABLE_DIFFUSION, "input": {"prompt": "a hill", "num_outputs": 2, "width": 128, "height": 128}}


def test_help_has_an_example() -> None:
    """And names every dialect."""
    done = subprocess.run([sys.executable, "-m", "sandbox", "--help"], capture_output=True, text=True, check=True)

    assert "REPLICATE_BASE_URL=http://127.0.0.1:8600" in done.stdout
    assert all(dialect in done.stdout for dialect in ("replicate", "no-list", "images"))


def test_a_restart_loses_nothing(tmp_path: Path) -> None:
    """After SIGKILL, and with half a line at the journal's end: the same predictions, counts, seeds and pictures."""
    with SandboxServer(tmp_path) as server:
        done = server.finished(server.create(prompt="a hill")["id"])
        picture = requests.get(done["output"][0], timeout=10).content
        server.faults([{"on": "create", "kind": "slow_run"}])
        canceled = server.call("POST", f"predictions/{server.create(prompt='a sea')['id']}/cancel").json()
        before = server.predictions()
        server.kill()
        with (tmp_path / "state.jsonl").open("a") as journal:
            journal.write('{"create": {"id": "half')
        server.start()
        after = server.predictions()
        again = requests.get(done["output"][0], timeout=10).content
        listed = server.call("GET", "predictions").json()["results"]
        stats = server.stats()
        server.create(prompt="one more, on a line of its own")
        server.restart()

        assert before == after
        assert [canceled, done] == listed
        assert picture == again
        assert (2, {"canceled": 1, "succeeded": 1}) == (stats["creates_accepted"], stats["predictions"])
        assert 3 == server.stats()["creates_accepted"]


def test_the_proxy_that_has_no_list(tmp_path: Path) -> None:
    """Create answers 200 below the proxy's path, links point elsewhere, the list is 404, errors are its own."""
    with SandboxServer(tmp_path, dialect="no-list", prefix="/replicate", creates_per_minute=6, burst=1) as server:
        created = server.call("POST", "predictions", json=ORDER)
        limited = server.call("POST", "predictions", json=ORDER)
        listed = server.call("GET", "predictions")
        done = server.finished(created.json()["id"])
        pictures = [requests.get(url, timeout=10).status_code for url in done["output"]]

    assert f"http://127.0.0.1:{server.port}/replicate" == server.url
    assert (200, 404, [200, 200]) == (created.status_code, listed.status_code, pictures)
    assert done["urls"]["get"].startswith("https://api.replicate.com/v1/predictions/")
    assert (429, "rate_limit_exceeded") == (limited.status_code, limited.json()["error"]["code"])
    assert {"message", "type", "param", "code"} == listed.json()["error"].keys()


@pytest.mark.parametrize("images_as", ["url", "b64"])
def test_the_proxy_that_answers_with_images(tmp_path: Path, images_as: str) -> None:
    """Create waits and is final: no id, no status; what fails is a 5xx though it was accepted."""
    with SandboxServer(tmp_path, dialect="images", images_as=images_as) as server:
        reply = server.call("POST", "predictions", json=ORDER)
        first, second = reply.json()["data"]
        pictures = [_content(entry) for entry in (first, second)]
        refused = server.call("POST", "predictions", json={**ORDER, "input": {"prompt": "nsfw"}})
        missing = [server.call("GET", path).status_code for path in ("predictions", "predictions/x", "account")]
        stats = server.stats()

    assert (200, {"created", "data"}) == (reply.status_code, reply.json().keys())
    assert [b"\x89PNG", b"\x89PNG"] == [picture[:4] for picture in pictures]
    assert (500, "upstream_error") == (refused.status_code, refused.json()["error"]["type"])
    assert ([404, 404, 404], 2) == (missing, stats["creates_accepted"])


def _content(entry: dict[str, Any]) -> bytes:
    if "url" in entry:
        return requests.get(entry["url"], timeout=10).content
    return base64.b64decode(entry["b64_json"])


@pytest.mark.parametrize(("image_format", "start"), [("jpg", b"\xff\xd8\xff"), ("webp", b"RIFF")])
def test_other_formats_and_few_pictures_for_many_calls(tmp_path: Path, image_format: str, start: bytes) -> None:
    """With a cache of one picture the bytes still differ for each prompt."""
    with SandboxServer(tmp_path, image_format=image_format, image_cache=1) as server:
        done = server.finished(server.call("POST", "predictions", json=ORDER).json()["id"])
        replies = [requests.get(url, timeout=10) for url in done["output"]]
        (first, second) = replies

    assert [f"out-0.{image_format}", f"out-1.{image_format}"] == [url.rpartition("/")[2] for url in done["output"]]
    assert f"image/{image_format}".replace("jpg", "jpeg") == first.headers["Content-Type"]
    assert start == first.content[: len(start)]
    assert first.content != second.content


def test_faults_and_token_from_the_start(tmp_path: Path) -> None:
    """A file of rules, and any token that is not empty where none was set."""
    rules = tmp_path / "faults.json"
    rules.write_text('[{"on": "create", "kind": "status", "status": 402}]')
    with SandboxServer(tmp_path, faults=rules, token="") as server:
        statuses = [
            server.call("POST", "predictions", json=ORDER, headers={"Authorization": f"Bearer {token}"}).status_code
            for token in ("r8_anything", "")
        ]
        account = server.call("GET", "account", headers={"Authorization": "Bearer "}).status_code

    assert ([402, 402], 401) == (statuses, account)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--faults", "nosuch.json"], "nosuch.json"),
        (["--state", "/nosuch/folder/state"], "/nosuch/folder/state"),
    ],
)
def test_bad_usage_ends_with_2(tmp_path: Path, arguments: list[str], reason: str) -> None:
    """And says what is wrong with a file it was given."""
    command = [sys.executable, "-m", "sandbox", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=20, check=False)

    assert 2 == done.returncode
    assert reason in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_and_ends_when_told(tmp_path: Path, number: signal.Signals) -> None:
    """The ready file and one line of output name a free port; a signal ends it with 0, a call still open or not."""
    ready = tmp_path / "ready.json"
    command = [sys.executable, "-m", "sandbox", "--ready-file", str(ready), "--die-with-parent"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        eventually(ready.exists, what="it listens")
        told = json.loads(ready.read_text())
        assert process.stdout is not None
        line = process.stdout.readline()
        rules = [{"on": "account", "kind": "delay", "seconds": 60}]
        requests.put(f"{told['url']}/sandbox/faults", json=rules, timeout=10)
        with pytest.raises(requests.ReadTimeout):
            requests.get(f"{told['url']}/v1/account", timeout=(2, 0.1))
        process.send_signal(number)

        assert 0 == process.wait(10)
    assert (line, process.pid) == (f"{told['url']}\n", told["pid"])


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it looks only once a second")
def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    """Even one that was killed with SIGKILL."""
    ready = tmp_path / "ready.json"
    parent_program = textwrap.dedent(f"""
        import subprocess, sys
        subprocess.Popen([sys.executable, "-m", "sandbox", "--ready-file", {str(ready)!r}, "--die-with-parent"]).wait()
    """)
    with subprocess.Popen([sys.executable, "-c", parent_program], stdout=subprocess.DEVNULL) as parent:
        eventually(ready.exists, what="it listens")
        child = json.loads(ready.read_text())["pid"]
        parent.kill()

    eventually(lambda: not _runs(child), what="the child ends")


def _runs(pid: int) -> bool:
    """Not counting one that has ended and waits to be collected."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
