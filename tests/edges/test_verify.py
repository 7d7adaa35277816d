"""Verifying a batch: whatever is missing or changed in the store is found, and nothing else."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path

import pytest

from imagejobs.edges.bucket import open_store
from imagejobs.job import Selection
from imagejobs.layout import image_key
from producer.mend import of_one_prediction
from producer.verify import Flaw, Verification, verify, write_rows
from tests.night import Night, a_png, a_spec
from tests.servers.s3 import Bucket, S3Server


@pytest.fixture
def night(tmp_path: Path) -> Night:
    """Three jobs that succeeded, the second one with two images."""
    night = Night(tmp_path, [a_spec("r1"), a_spec("r2"), a_spec("r3")])
    night.succeed("r1", "r3")
    night.succeed("r2", images=2)
    return night


def check(night: Night, *, deep: bool = False) -> Verification:
    """Verify the batch."""
    return verify(night.ledger, night.store, night.batch, deep=deep)


@pytest.mark.parametrize("deep", [False, True], ids=["quick", "deep"])
def test_an_untouched_batch_is_sound(night: Night, deep: bool):
    """Every object is there, and as it was stored."""
    found = check(night, deep=deep)

    assert Verification(checked=4, missing=(), wrong=()) == found
    assert found.is_sound


def test_a_missing_object_is_found(night: Night):
    """By the job's id and the image's index."""
    (night.folder / "images" / "r2-1.png").unlink()

    assert (Flaw(id="r2", index=1, problem="is missing"),) == check(night).missing


def test_a_shortened_object_is_found(night: Night):
    """Without reading it: its length tells."""
    place = night.folder / "images" / "r1-0.png"
    place.write_bytes(place.read_bytes()[:-10])
    (flaw,) = check(night).wrong

    assert ("r1", 0) == (flaw.id, flaw.index)
    assert "bytes" in flaw.problem


def test_changed_bytes_of_the_same_length_are_found(night: Night):
    """A folder keeps no hashes, so what is there is read."""
    place = night.folder / "images" / "r3-0.png"
    data = bytearray(place.read_bytes())
    data[-20] ^= 1
    place.write_bytes(data)

    assert (Flaw(id="r3", index=0, problem="has other bytes than were stored"),) == check(night).wrong


def test_flaws_come_in_the_order_of_the_input(night: Night):
    """However the threads that look took turns."""
    for name in ("r1-0", "r2-0", "r2-1", "r3-0"):
        (night.folder / "images" / f"{name}.png").unlink()

    assert [("r1", 0), ("r2", 0), ("r2", 1), ("r3", 0)] == [(flaw.id, flaw.index) for flaw in check(night).missing]


def test_a_job_that_failed_is_verified_for_what_it_has(tmp_path: Path):
    """Images that came from a filtered set count; those that never came are not missed."""
    night = Night(tmp_path, [a_spec("r1")])
    night.fail("r1", indexes=[2])

    assert Verification(checked=1, missing=(), wrong=()) == check(night)


def test_what_is_flawed_can_be_submitted_again(night: Night):
    """One row a job, however many of its images are gone; the person decides to pay."""
    for name in ("r1-0", "r2-0", "r2-1"):
        (night.folder / "images" / f"{name}.png").unlink()
    found = check(night)
    file = io.BytesIO()

    assert 2 == write_rows(night.ledger, night.batch, found, file)
    rows = [json.loads(line) for line in file.getvalue().splitlines()]
    assert [("r1", a_spec("r1").input), ("r2", a_spec("r2").input)] == [(row["id"], row["input"]) for row in rows]
    assert "paid" in found.advice


def test_progress_ends_at_the_number_of_images(night: Night):
    """A progress bar gets to its end, also for a handful."""
    told: list[int] = []
    verify(night.ledger, night.store, night.batch, progress=told.append)

    assert 4 == told[-1]


def test_a_bucket_is_verified_by_the_hash_it_keeps(tmp_path: Path, bucket: Bucket):
    """What was put there by somebody else, or is gone, is found without a download."""
    store = open_store(f"s3://{bucket.name}/prefix", bucket.settings)
    night = Night(tmp_path, [a_spec("r1"), a_spec("r2"), a_spec("r3")], store=store)
    night.succeed("r1", "r2", "r3")
    other = bytearray(store.get(image_key("night", "r1", 0, "png")))
    other[-20] ^= 1
    night.put_image("r1", 0, bytes(other))
    store.delete(image_key("night", "r2", 0, "png"))
    found = check(night)

    assert (3, [("r2", 0)], [("r1", 0)]) == (
        found.checked,
        [(flaw.id, flaw.index) for flaw in found.missing],
        [(flaw.id, flaw.index) for flaw in found.wrong],
    )
    store.close()


def test_deep_trusts_no_hash_of_the_store(tmp_path: Path, bucket: Bucket, s3_server: S3Server):
    """Bytes that do not fit the hash beside them are found when they are read."""
    store = open_store(f"s3://{bucket.name}", bucket.settings)
    night = Night(tmp_path, [a_spec("r1")], store=store)
    night.succeed("r1")
    key = image_key("night", "r1", 0, "png")
    stat = store.stat(key)
    assert stat is not None
    assert stat.sha256 is not None
    client = s3_server.client()
    client.put_object(Bucket=bucket.name, Key=key, Body=bytes(stat.bytes), Metadata={"sha256": stat.sha256})

    assert check(night).is_sound
    assert (Flaw(id="r1", index=0, problem="has other bytes than were stored"),) == check(night, deep=True).wrong
    store.close()


def test_deep_decodes_what_has_the_right_hash(tmp_path: Path):
    """An image that was let in by its checksums alone may still not be a whole one."""
    night = Night(tmp_path, [a_spec("r1")])
    night.succeed("r1", data=half_of(a_png(7)))

    assert check(night).is_sound
    assert ["r1"] == [flaw.id for flaw in check(night, deep=True).wrong]


def half_of(png: bytes) -> bytes:
    """The image with half of its pixels' data, and every checksum right."""
    start = png.index(b"IDAT")
    (length,) = struct.unpack(">I", png[start - 4 : start])
    chunk = png[start : start + 4 + length // 2]
    rest = png[start + 4 + length + 4 :]
    return png[: start - 4] + struct.pack(">I", length // 2) + chunk + struct.pack(">I", zlib.crc32(chunk)) + rest


def test_flaws_are_mended_from_the_prediction_that_made_each(tmp_path: Path):
    """A set that came short twice has images of both, and each of the two has a record of its own at the provider."""
    night = Night(tmp_path, [a_spec("r1", outputs=3)])
    night.fail("r1", indexes=(0, 1))
    night.ledger.steering.retry(night.batch.id, Selection(), max_tries=4, now=night.now)
    night.begin()
    night.fail("r1", indexes=(0,))
    together = list(of_one_prediction(night.ledger, night.batch, {("r1", 0), ("r1", 1)}))

    assert [["p-r1-2"], ["p-r1-1"]] == [[row["prediction_id"] for row in rows] for rows in together]
