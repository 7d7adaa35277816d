"""A store that refuses, is down, is slow, is full or is gone: nothing is lost, and nothing is generated again."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest

from imagejobs.job import Batch
from imagejobs.states import State
from tests.faults import matrix, recovery
from tests.servers.s3 import Bucket, MinistackServer, S3Server
from tests.servers.s3_proxy import S3Proxy
from tests.servers.sandbox import SandboxServer
from tests.servers.waiting import eventually
from tests.system.fleet import Fleet, rows

RADOS_ONLY = pytest.mark.parametrize("s3_server", ["radosgw"], indirect=True)  # it checks signatures


def finished(fleet: Fleet) -> Batch:
    """The batch closed, however many jobs it has."""
    return fleet.closed(timeout_seconds=120 + matrix.jobs())


def pointed_at(bucket: Bucket, **changes: str) -> dict[str, str]:
    """The variables of a fleet that stores there."""
    return {**bucket.settings, "IMAGEJOBS_STORE": f"s3://{bucket.name}/runs", **changes}


def copies_that_failed(fleet: Fleet, batch: Batch) -> int:
    """How many copies the ledger knows of that did not work."""
    records = (fleet.ledger.views.history(batch.id, row["row_id"]) for row in fleet.ledger.views.job_rows(batch.id))
    return sum(attempt["copy_tries"] for attempt in itertools.chain.from_iterable(records))


def is_paused(batch: Batch) -> bool:
    """For the store's sake."""
    return batch.paused_kind == "storage"


def test_slow_down_for_every_fifth_request(
    tmp_path: Path, redis_url: str, sandbox: SandboxServer, s3_server: S3Server, bucket: Bucket
) -> None:
    """503 from the store: each copy and each file of the batch's end is tried again until it is in."""
    with (
        S3Proxy(s3_server.endpoint, share_refused=0.2) as proxy,
        Fleet(
            tmp_path, sandbox=sandbox, redis_url=redis_url, **pointed_at(bucket, AWS_ENDPOINT_URL_S3=proxy.endpoint)
        ) as fleet,
    ):
        fleet.submit(rows(matrix.jobs()))
        fleet.start(2)
        batch = finished(fleet)
        refused, proxy.share_refused = proxy.refused, 0.0

        assert batch.paused is None
        matrix.proven(fleet, batch, fault="S3: 20 % SlowDown", injected=refused)


def test_a_store_that_is_down(tmp_path: Path, redis_url: str, sandbox: SandboxServer) -> None:
    """Killed with SIGKILL in mid-run, and started again after a while: the copies are made up for."""
    seconds = matrix.lasting(60, brief_seconds=8)
    with MinistackServer(tmp_path / "s3") as server:
        bucket = Bucket(name=server.make_bucket(), settings=server.settings)
        # Paced, or a quick machine has stored all of them by the time that the first is seen.
        paced = pointed_at(bucket, IMAGEJOBS_CREATES_PER_MINUTE=recovery.pace())
        with Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url, **paced) as fleet:
            fleet.submit(rows(matrix.jobs()))
            fleet.start(2)
            fleet.reached(lambda batch: batch.counts[State.SUCCEEDED] > 0)
            server.kill()
            time.sleep(seconds)  # the fault itself: how long the store is away
            waiting = fleet.batch().counts[State.STORING]
            server.start()
            began = time.monotonic()
            batch = finished(fleet)

            assert waiting > 0
            matrix.proven(
                fleet,
                batch,
                fault=f"S3: down for {seconds:.0f} s",
                injected=copies_that_failed(fleet, batch),
                recovery_seconds=time.monotonic() - began,
            )


@RADOS_ONLY
def test_a_wrong_secret(tmp_path: Path, redis_url: str, sandbox: SandboxServer, bucket: Bucket) -> None:
    """The batch pauses, saying which variable is wrong; workers with the right one go on by themselves."""
    with Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url, **pointed_at(bucket)) as fleet:
        fleet.submit(rows(matrix.jobs()))
        (worker,) = fleet.start(1, AWS_SECRET_ACCESS_KEY="r8-not-the-right-one")
        paused = fleet.reached(is_paused)
        eventually(lambda: copies_that_failed(fleet, paused) > 4, timeout_seconds=60, what="some copies are refused")
        fleet.kill(worker)
        fleet.start(2)
        began = time.monotonic()
        batch = finished(fleet)

        assert "AWS_SECRET_ACCESS_KEY" in str(paused.paused)
        assert "r8-not-the-right-one" not in fleet.log() + str(paused)
        matrix.proven(
            fleet,
            batch,
            fault="S3: wrong secret",
            injected=copies_that_failed(fleet, batch),
            recovery_seconds=time.monotonic() - began,
        )


def test_a_bucket_that_is_deleted(
    tmp_path: Path, redis_url: str, sandbox: SandboxServer, s3_server: S3Server, bucket: Bucket
) -> None:
    """In mid-run, with all that was in it: a pause; made again, the rest comes by itself, and `verify --mend` brings
    back what was deleted, from the provider.
    """
    client = s3_server.client()
    # Some outputs cannot be had before the bucket is gone: so it goes in mid-run, however fast or slow the machine is.
    sandbox.faults([{"on": "file", "kind": "status", "status": 503, "match": "lighthouse 3"}])
    with Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url, **pointed_at(bucket)) as fleet:
        fleet.submit(rows(matrix.jobs()))
        fleet.start(2)
        fleet.reached(lambda batch: batch.counts[State.SUCCEEDED] > 0)
        eventually(
            lambda: emptied_and_deleted(client, bucket.name),
            timeout_seconds=60,
            what="the bucket is deleted",
            ignoring=(botocore.exceptions.ClientError,),
        )
        sandbox.faults([])
        paused = fleet.reached(is_paused)
        refused = eventually(
            lambda: sum("NoSuchBucket" in str(row["error"]) for row in fleet.ledger.views.job_rows(paused.id)),
            timeout_seconds=60,
            what="copies are refused",
        )
        client.create_bucket(Bucket=bucket.name)
        began = time.monotonic()
        batch = finished(fleet)
        recovery = time.monotonic() - began
        looked = fleet.command("verify", "night", "--json")
        mended = fleet.command("verify", "night", "--mend", "--json")

        assert "NoSuchBucket" in str(paused.paused)
        assert (3, 0) == (looked.returncode, mended.returncode), mended.stdout + mended.stderr
        assert 0 < len(json.loads(looked.stdout)["flaws"]) == json.loads(mended.stdout)["mended"]
        matrix.proven(
            fleet,
            batch,
            fault="S3: bucket deleted, made again, mended",
            injected=refused,
            recovery_seconds=recovery,
        )


def emptied_and_deleted(client: Any, bucket: str) -> bool:
    """The bucket and all in it; raises ClientError when something was put there in between."""
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for entry in page.get("Contents", ()):
            client.delete_object(Bucket=bucket, Key=entry["Key"])
    client.delete_bucket(Bucket=bucket)
    return True


def test_slow_uploads(
    tmp_path: Path, redis_url: str, sandbox: SandboxServer, s3_server: S3Server, bucket: Bucket
) -> None:
    """Seconds a put, in every thread: nothing is taken for lost, and nothing is put or paid for twice over."""
    with (
        S3Proxy(s3_server.endpoint, put_seconds=2.0) as proxy,
        Fleet(
            tmp_path, sandbox=sandbox, redis_url=redis_url, **pointed_at(bucket, AWS_ENDPOINT_URL_S3=proxy.endpoint)
        ) as fleet,
    ):
        fleet.submit(rows(matrix.jobs()))
        fleet.start(2)
        batch = finished(fleet)
        held, proxy.put_seconds = proxy.held, 0.0

        assert held < 1.2 * matrix.jobs() + 10  # the images once, and the files of the batch's end
        matrix.proven(fleet, batch, fault="S3: slow uploads", injected=held)


@contextmanager
def small_disk(folder: Path, *, size: str) -> Iterator[None]:
    """A file system of its own at `folder`; skips the test where none can be mounted."""
    folder.mkdir()
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=False).returncode
    ):
        pytest.skip("a full disk is a small one, and mounting one takes root")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=False)


def test_a_full_disk(tmp_path: Path, redis_url: str, sandbox: SandboxServer) -> None:
    """A pause with the reason; once there is room the images come."""
    store = tmp_path / "small"
    with (
        small_disk(store, size="200k"),
        Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url, IMAGEJOBS_STORE=store.as_uri()) as fleet,
    ):
        fleet.submit(rows(matrix.jobs(), width=256, height=256))
        fleet.start(2)
        paused = fleet.reached(is_paused)
        subprocess.run(["mount", "-o", "remount,size=512m", store], check=True)
        began = time.monotonic()
        batch = finished(fleet)

        assert "make room" in str(paused.paused)
        matrix.proven(
            fleet,
            batch,
            fault="file://: disk full",
            injected=copies_that_failed(fleet, batch),
            recovery_seconds=time.monotonic() - began,
        )
