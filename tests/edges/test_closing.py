"""Closing a batch: complete files first, and the marker last."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pyarrow import parquet
from sqlalchemy import text

from imagejobs.batchfiles import Made, Rows, make_files
from imagejobs.edges.bucket import open_store
from imagejobs.layout import part_key
from imagejobs.ledger import Ledger
from imagejobs.manifest import parquet_schema
from imagejobs.models.catalogue import Models
from imagejobs.states import State
from producer.intake import Intake
from tests.edges.closers import (
    MARKER,
    Watched,
    close,
    has_marker,
    ids,
    is_consistent,
    lines,
    retry,
)
from tests.night import Night, a_spec
from tests.servers.s3 import Bucket


def test_a_closed_batch_has_all_its_files(night: Night):
    """Scripts rely on the names."""
    assert close(night)

    found = {str(path.relative_to(night.folder)) for path in night.folder.rglob("*") if path.is_file()}
    assert {
        "images/r1-0.png",
        "images/r2-0.png",
        "images/r2-1.png",
        "images/r3-1.png",
        "manifest/part-00000.jsonl",
        "manifest/part-00000.parquet",
        "metadata.jsonl",
        "failed.jsonl",
        "failures.jsonl",
        "_SUCCESS",
    } == found
    assert night.batch.is_done


def test_the_marker_is_the_last_thing_written(night: Night):
    """Whoever waits for it finds everything else complete."""
    store = Watched(night.store)
    close(night, store)

    assert ("put", MARKER) == store.done[-1]


def test_the_marker_says_how_it_went(night: Night):
    """Its counts sum to the total, and its images are the manifest's."""
    close(night)
    (marker,) = lines(night.folder / "_SUCCESS")

    assert {"batch": "night", "total": 3, "succeeded": 2, "failed": 1, "images": 4}.items() <= marker.items()
    assert marker["total"] == sum(marker[state] for state in State)
    assert ("2023-11-14T22:13:21.000000Z", 1) == (marker["first_submitted_at"], marker["schema_version"])


def test_the_manifest_tells_of_every_image(night: Night):
    """Also of those that came from a job that failed, in both formats alike."""
    close(night)
    table = parquet.read_table(night.folder / "manifest" / "part-00000.parquet")
    in_lines = lines(night.folder / "manifest" / "part-00000.jsonl")

    assert [("r1", 0), ("r2", 0), ("r2", 1), ("r3", 1)] == [(line["id"], line["index"]) for line in in_lines]
    assert parquet_schema() == table.schema
    for name in ("id", "uri", "sha256", "prediction_id", "attempt", "predict_time_s"):
        assert [line[name] for line in in_lines] == table.column(name).to_pylist()


def test_failed_rows_can_be_submitted_as_they_are(night: Night):
    """The file is input: it asks for the same again, seed and all."""
    close(night)
    models = Models(fetch=lambda _: None, recall=lambda _: None, remember=lambda *_: None)
    with Intake(night.folder / "failed.jsonl", models=models, default_version="x/y") as intake:
        intake.check()
        (spec,) = (text.spec() for text in intake.specs())

    asked = a_spec("r3")
    assert (asked.id, asked.version, asked.tags) == (spec.id, spec.version, spec.tags)
    assert asked.input.items() <= spec.input.items()


def test_why_rows_failed_stands_beside_them(tmp_path: Path):
    """Canceled ones too: they are no failures to submit again, but somebody may look for them."""
    night = Night(tmp_path, [a_spec("r1"), a_spec("r2"), a_spec("r3")])
    night.succeed("r1")
    night.fail("r2")
    night.cancel("r3")
    close(night)

    assert ["r2"] == ids(night.folder / "failed.jsonl")
    failures = lines(night.folder / "failures.jsonl")
    assert [("r2", "failed", "safety"), ("r3", "canceled", None)] == [
        (line["id"], line["state"], line["cause"]) for line in failures
    ]
    assert "NSFW content in r2" == failures[0]["error"]


LOAD = """
import json, sys, datasets
how = json.loads(sys.argv[2])
loaded = datasets.load_dataset("imagefolder", data_dir=sys.argv[1], **how)["train"]
print(json.dumps({"columns": loaded.column_names, "ids": loaded["id"][:], "prompts": loaded["prompt"][:],
                  "sizes": [image.size for image in loaded["image"]]}))
"""


@pytest.mark.parametrize("how", [{}, {"data_files": "metadata.jsonl"}], ids=["folder", "metadata"])
def test_hugging_face_loads_the_folder(night: Night, tmp_path: Path, how: dict[str, str]):
    """As it lies, with manifest, failures and marker beside the images."""
    close(night)
    environ = {"HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf"), "PATH": ""}
    command = [sys.executable, "-c", LOAD, str(night.folder), json.dumps(how)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True, timeout=120)
    loaded = json.loads(done.stdout)

    assert ["r1", "r2", "r2", "r3"] == loaded["ids"]
    assert ["Möwe r1", "Möwe r2", "Möwe r2", "Möwe r3"] == loaded["prompts"]
    assert [[128, 128]] * 4 == loaded["sizes"]
    assert {"image", "width", "seed", "tags.mood", "input", "tags", "version", "index"} <= set(loaded["columns"])


def test_a_batch_without_an_image_closes_too(tmp_path: Path):
    """Everything failed: there is a manifest, and it is empty."""
    night = Night(tmp_path, [a_spec("r1")])
    night.fail("r1")

    assert close(night)
    assert 0 == parquet.read_table(night.folder / "manifest" / "part-00000.parquet").num_rows
    assert ["r1"] == ids(night.folder / "failed.jsonl")


def test_closing_works_on_both_databases(tmp_path: Path, database_url: str):
    """The compare-and-set of the closing is the database's own."""
    with Ledger(database_url) as ledger:
        night = Night(tmp_path, [a_spec("r1"), a_spec("r2")], ledger=ledger)
        night.succeed("r1")
        night.fail("r2")

        assert close(night)
        retry(night, "r2")
        assert is_consistent(night.batch, has_marker(night))
        assert 1 == night.batch.live


def test_closing_works_on_a_bucket(tmp_path: Path, bucket: Bucket):
    """The same files under a prefix of a store that speaks S3."""
    store = open_store(f"s3://{bucket.name}/some/prefix", bucket.settings)
    night = Night(tmp_path, [a_spec("r1")], store=store)
    night.succeed("r1")

    assert close(night)
    assert 1 == json.loads(store.get(MARKER))["images"]
    assert ["r1"] == [json.loads(store.get("night/metadata.jsonl"))["id"]]
    store.close()


def test_parts_of_a_larger_manifest_are_taken_away(night: Night):
    """Nothing stale stays for a reader who takes every part there is."""
    stale = [part_key("night", number, extension) for number in (1, 2) for extension in ("jsonl", "parquet")]
    for key in stale:
        night.store.put(key, b"{}", content_type="x", sha256="0" * 64)
    close(night)

    assert [None] * 4 == [night.store.stat(key) for key in stale]
    assert night.store.stat(part_key("night", 0, "parquet"))


def test_a_live_job_keeps_a_batch_open(tmp_path: Path):
    """No files, no marker."""
    night = Night(tmp_path, [a_spec("r1"), a_spec("r2")])
    night.succeed("r1")

    assert not close(night)
    assert not (night.folder / "manifest").exists()


def test_a_ledger_that_is_away_for_a_moment_puts_the_closing_off(night: Night):
    """By half of the minute that the batch has waited, and not for as long as somebody may be at it."""

    def away(rows: Rows, folder: Path) -> Made:
        with night.ledger.database.write() as connection:
            connection.execute(text("ALTER TABLE specs RENAME TO gone"))
        try:
            return make_files(rows, folder)
        finally:
            with night.ledger.database.write() as connection:
                connection.execute(text("ALTER TABLE gone RENAME TO specs"))

    assert not close(night, make=away)
    assert not close(night, now=night.now + 60 + 29)
    assert close(night, now=night.now + 60 + 31)
