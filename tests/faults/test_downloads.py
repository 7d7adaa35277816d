"""Downloads that go wrong: a clear cause, bounded memory, and the right kind of retry for each."""

from __future__ import annotations

import json
import re
import socket
import time
from functools import partial
from pathlib import Path

from imagejobs.errors import Cause
from imagejobs.job import Batch
from imagejobs.states import State
from tests.faults import matrix
from tests.servers.sandbox import SandboxServer
from tests.servers.waiting import eventually
from tests.system.fleet import Fleet, rows

PASSING = ("truncate", "wrong_length", "html", "corrupt", "gone", "reset", "reset_after", "status")
LASTING = {
    "bomb": ({}, "3600000000 pixels"),
    "huge": ({}, "500000000 bytes, more than"),
    "redirect": ({"url": "http://10.255.255.1/secret"}, "not at an address that may be fetched from"),
    "wrong_size": ({}, "the image is 64x64, 128x128 was asked for"),
}
MOST_WORKER_MB = 400  # one that held a 500 MB body, or a bomb's 10 GB of pixels, would be far above
EXPIRE_SECONDS = 8.0


def finished(fleet: Fleet) -> Batch:
    """The batch closed, however many jobs it has."""
    return fleet.closed(timeout_seconds=90 + matrix.jobs())


def peak_mb(pid: int) -> float:
    """The most memory that a process has had."""
    (found,) = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="utf-8"))
    return int(found) / 1024


def is_deleted(sandbox: SandboxServer, prediction_id: str) -> bool:
    """Whether the provider has removed the prediction's outputs."""
    return bool(sandbox.get(prediction_id).get("data_removed"))


def test_downloads_that_pass(fleet: Fleet) -> None:
    """Cut off, short, HTML with 200, corrupt, 404, reset, 503: each is copied again until it works, and never paid."""
    strikes = {"on": "file", "count": max(3, matrix.jobs() // 20)}
    rules = [{**strikes, "kind": kind, "match": f"lighthouse {digit}"} for digit, kind in enumerate(PASSING, 1)]
    fleet.sandbox.faults([*rules[:-1], {**rules[-1], "status": 503}])
    fleet.submit(rows(matrix.jobs()))
    fleet.start(2)
    batch = finished(fleet)

    assert [] == [rule for rule in fleet.sandbox.stats()["faults"] if not rule["struck"]]
    matrix.proven(fleet, batch, fault="downloads that pass", injected=matrix.struck(fleet))


def test_downloads_that_last(fleet: Fleet) -> None:
    """A bomb, 500 MB, a way to a private address, other dimensions: failed with the reason, copied again for free."""
    strikes = {"on": "file", "count": max(3, matrix.jobs() // 50)}  # fewer alike in a row than the breaker minds
    fleet.sandbox.faults(
        [
            {**strikes, "kind": kind, "match": f"lighthouse {digit}", **parameters}
            for digit, (kind, (parameters, _)) in enumerate(LASTING.items(), start=1)
        ]
    )
    fleet.submit(rows(matrix.jobs()))
    workers = fleet.start(2)
    failed = finished(fleet)
    struck = [rule["struck"] for rule in fleet.sandbox.stats()["faults"]]
    peak = max(peak_mb(worker.pid) for worker in workers)
    told = json.loads(fleet.command("failures", "night", "--json").stdout)["failures"]
    shown = json.loads(fleet.command("retry", "night", "--dry-run", "--json").stdout)
    fleet.sandbox.faults([])
    began = time.monotonic()
    retried = fleet.command("retry", "night", "--cause", "download", "--yes")
    batch = finished(fleet)

    assert all(struck)
    assert sum(struck) == failed.counts[State.FAILED]
    assert {Cause.DOWNLOAD} == {group["cause"] for group in told}
    assert [] == [said for _, said in LASTING.values() if said not in str(told)]
    assert peak < MOST_WORKER_MB
    assert (sum(struck), 0, 0) == (shown["free"], shown["paid"], retried.returncode), shown
    matrix.proven(
        fleet, batch, fault="downloads that last", injected=sum(struck), recovery_seconds=time.monotonic() - began
    )


def test_outputs_at_inside_addresses(fleet: Fleet) -> None:
    """By name, by number, in every spelling: nobody connects there, and the failure says so."""
    with socket.create_server(("127.0.0.1", 0)) as inside:
        port = inside.getsockname()[1]
        addresses = [
            f"https://{host}:{port}/out-0.png"
            for host in ("localhost", "127.0.0.1", "2130706433", "[::ffff:127.0.0.1]")
        ]
        addresses += ["https://169.254.169.254/latest/meta-data", "http://10.0.0.1/out-0.png", "file:///etc/passwd"]
        fleet.sandbox.faults(
            [
                {"on": "create", "kind": "output_url", "url": address, "match": f"lighthouse {digit}", "count": 1}
                for digit, address in enumerate(addresses, start=1)
            ]
        )
        fleet.submit(rows(matrix.jobs()))
        fleet.start(2)
        batch = finished(fleet)
        told = json.loads(fleet.command("failures", "night", "--json").stdout)["failures"]
        inside.setblocking(False)
        try:
            inside.accept()
            has_come = True
        except BlockingIOError:
            has_come = False

    assert not has_come
    assert {Cause.DOWNLOAD} == {group["cause"] for group in told}
    assert "may be fetched" in told[0]["sample"]
    matrix.proven(
        fleet, batch, fault="outputs at inside addresses", injected=matrix.struck(fleet), failed=len(addresses)
    )


def test_outputs_deleted_before_they_were_copied(tmp_path: Path, redis_url: str) -> None:
    """Generated again, once for each that the provider has deleted, and counted as exactly that."""
    with (
        SandboxServer(tmp_path / "sandbox", expire_seconds=EXPIRE_SECONDS) as sandbox,
        Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url, IMAGEJOBS_MAX_TRIES="12") as fleet,
    ):
        sandbox.faults([{"on": "file", "kind": "status", "status": 503}])
        fleet.submit(rows(matrix.jobs()))
        fleet.start(2)
        fleet.reached(lambda batch: batch.counts[State.STORING] == batch.total, timeout_seconds=60 + matrix.jobs() / 4)
        for made in sandbox.predictions():  # each: who was last to be created need not be last to end
            eventually(partial(is_deleted, sandbox, made["id"]), timeout_seconds=60, what="the outputs are deleted")
        paid_before = sandbox.stats()["creates_accepted"]
        sandbox.faults([])
        began = time.monotonic()
        batch = finished(fleet)
        paid_again = matrix.generated_again(fleet, batch)

        assert paid_before == batch.total <= paid_again
        matrix.proven(
            fleet,
            batch,
            fault="outputs deleted before they were copied",
            injected=sandbox.stats()["files_refused"]["404"],
            paid_retries=paid_again,
            recovery_seconds=time.monotonic() - began,
        )


def test_copying_that_falls_behind(tmp_path: Path, redis_url: str, sandbox: SandboxServer) -> None:
    """Submitting stops, and goes on once the copies are made; what was paid for by then is not paid for again.

    The provider is said to keep outputs for six seconds, so that what takes minutes of an hour takes one.
    """
    with Fleet(
        tmp_path,
        sandbox=sandbox,
        redis_url=redis_url,
        IMAGEJOBS_KEEP_SECONDS="6",
        IMAGEJOBS_CREATES_PER_MINUTE="600",
    ) as fleet:
        sandbox.faults([{"on": "file", "kind": "status", "status": 503}])
        fleet.submit(rows(max(150, matrix.jobs())))
        fleet.start(2)
        stopped = eventually(
            lambda: "submitting_stopped" in fleet.log() and fleet.batch(), timeout_seconds=60, what="submitting stops"
        )
        sent = sandbox.stats()["creates_accepted"]
        injected = matrix.struck(fleet)
        sandbox.faults([])
        began = time.monotonic()
        batch = finished(fleet)

        assert stopped.nearest_expiry is not None
        assert sent < batch.total
        matrix.proven(
            fleet,
            batch,
            fault="copying falls behind",
            injected=injected,
            recovery_seconds=time.monotonic() - began,
        )
