"""Closing a batch: complete files first, the marker last, and no marker while a job is live, whatever comes between."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from imagejobs import closing
from imagejobs.edges.bucket import open_store
from imagejobs.edges.store import Store
from imagejobs.errors import Cause, Permanent, Refused, Transient
from imagejobs.job import Batch, Selection
from imagejobs.layout import part_key
from imagejobs.ledger import Ledger
from imagejobs.manifest import parquet_schema
from imagejobs.models.catalogue import Models
from imagejobs.patience import Patience
from imagejobs.states import State
from producer.intake import Intake
from tests.night import Night, a_spec
from tests.servers.s3 import Bucket

MARKER = "night/_SUCCESS"
HASTY = Patience(sleep=lambda _: None)
BLIP = Transient("bucket b: SlowDown: no reason given", cause=Cause.STORAGE)
DENIED = Refused("bucket b: AccessDenied: no reason given", cause=Cause.STORAGE)


class Watched:
    """A real store that notes what is done to it. `before` and `after` hold what happens, once, around a call."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.done: list[tuple[str, str]] = []
        self.before: dict[tuple[str, str], Callable[[], Any]] = {}
        self.after: dict[tuple[str, str], Callable[[], Any]] = {}

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        def call(key: str, *args: Any, **kwargs: Any) -> Any:
            self.before.pop((name, key), lambda: None)()
            result = method(key, *args, **kwargs)
            self.done.append((name, key))
            self.after.pop((name, key), lambda: None)()
            return result

        return call


def failing(error: Exception) -> Callable[[], None]:
    """What a store does that answers with this error."""

    def fail() -> None:
        raise error

    return fail


def close(night: Night, store: Any = None, *, now: float | None = None) -> bool:
    """Close the batch a minute after its last job ended, or at `now`."""
    moment = night.now + 60 if now is None else now
    store = night.store if store is None else store
    return closing.close(night.ledger, store, night.batch, now=moment, lease_seconds=900, patience=HASTY)


def retry(night: Night, *row_ids: str, store: Any = None) -> None:
    """What `imagejobs retry` does."""
    store = night.store if store is None else store
    with closing.reopened(night.ledger, store, night.batch, now=night.now, patience=HASTY):
        requeue(night, *row_ids)


def requeue(night: Night, *row_ids: str) -> None:
    """The ledger's half of a retry."""
    night.ledger.steering.retry(night.batch.id, Selection(ids=row_ids), max_tries=4, now=night.now)


def lines(path: Path) -> list[Any]:
    """A file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def ids(path: Path) -> list[str]:
    """The `id` of every line."""
    return [line["id"] for line in lines(path)]


def has_marker(night: Night) -> bool:
    """Whether the store says that the batch is done."""
    return (night.folder / "_SUCCESS").exists()


def is_consistent(batch: Batch, marked: bool) -> bool:
    """The marker stands exactly for a batch that the ledger calls closed, and no job of it is live."""
    return marked == batch.is_done and not (batch.is_done and batch.live)


@pytest.fixture
def night(tmp_path: Path) -> Night:
    """Three jobs: two succeeded, one with two images; one failed, with one image of its own."""
    night = Night(tmp_path, [a_spec("r1"), a_spec("r2"), a_spec("r3")])
    night.succeed("r1")
    night.succeed("r2", images=2)
    night.fail("r3", indexes=[1])
    return night


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


def test_one_closer_at_a_time(night: Night):
    """The second one leaves the work to the first while its lease lasts."""
    night.ledger.batches.start_closing(night.batch.id, now=night.now, lease_until=night.now + 900)

    assert not close(night, now=night.now + 899)
    assert close(night, now=night.now + 901)


def test_a_retry_takes_the_marker_away_before_anything_is_queued(night: Night):
    """Nobody sees a finished batch with live jobs."""
    close(night)
    with closing.reopened(night.ledger, night.store, night.batch, now=night.now):
        assert not has_marker(night)
        assert 0 == night.batch.live


def test_a_retry_that_succeeds_leaves_no_failed_row_behind(night: Night):
    """The files are those of the newest closing."""
    close(night)
    retry(night, "r3")
    night.begin()
    night.succeed("r3", images=2)

    assert close(night)
    assert [] == ids(night.folder / "failed.jsonl")
    assert ["r1", "r2", "r2", "r3", "r3"] == ids(night.folder / "manifest" / "part-00000.jsonl")
    assert 5 == lines(night.folder / "_SUCCESS")[0]["images"]


def test_a_retry_of_nothing_leaves_a_batch_that_closes_again(night: Night):
    """The selection was empty by the time it was made."""
    close(night)
    retry(night, "nobody")

    assert not has_marker(night)
    assert close(night)
    assert has_marker(night)


@pytest.mark.parametrize(
    "moment",
    [
        ("put_file", part_key("night", 0, "parquet")),
        ("put_file", "night/failures.jsonl"),
        ("put", MARKER),
    ],
    ids=["among the files", "after the files", "at the marker"],
)
def test_a_retry_during_a_closing_wins(night: Night, moment: tuple[str, str]):
    """The closer finds out, at the latest when the ledger refuses it, and leaves no marker."""
    store = Watched(night.store)
    store.before[moment] = lambda: retry(night, "r3")

    assert not close(night, store)
    assert not has_marker(night)
    assert (False, 1) == (night.batch.is_done, night.batch.live)


def test_a_retry_between_marker_and_ledger_wins(night: Night):
    """The marker was there for a moment, and told the truth; the refused closer takes it away."""
    store = Watched(night.store)
    store.after["put", MARKER] = lambda: retry(night, "r3")

    assert not close(night, store)
    assert not has_marker(night)
    assert (False, 1) == (night.batch.is_done, night.batch.live)


def test_a_marker_put_while_a_retry_queues_is_taken_away(night: Night):
    """A whole closing fits between the retry's first step and its second: the retry looks again."""
    with closing.reopened(night.ledger, night.store, night.batch, now=night.now):
        assert close(night)
        assert has_marker(night)
        requeue(night, "r3")

    assert not has_marker(night)
    assert (False, 1) == (night.batch.is_done, night.batch.live)


def test_a_closer_that_dies_after_the_marker_is_tidied_up_by_the_retry(night: Night):
    """Its marker is taken away, for its batch was not closed."""
    store = Watched(night.store)
    store.after["put", MARKER] = failing(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        close(night, store)
    assert has_marker(night)
    retry(night, "r3")

    assert not has_marker(night)


def test_a_closer_that_dies_is_replaced(night: Night):
    """Its lease runs out, and the next one does it all again."""
    store = Watched(night.store)
    store.before["put_file", "night/metadata.jsonl"] = failing(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        close(night, store)

    assert not close(night)
    assert close(night, now=night.now + 2000)
    assert has_marker(night)


def everything_else(night: Night) -> None:
    """What happens while a closer sleeps: a retry, its success, and the closing by another."""
    retry(night, "r3")
    night.begin()
    night.succeed("r3", images=2)
    assert close(night)


@pytest.mark.parametrize(
    "moment",
    [
        ("delete", MARKER),
        ("put_file", part_key("night", 0, "jsonl")),
        ("put_file", "night/failed.jsonl"),
        ("put", MARKER),
    ],
    ids=["at the old marker", "at the manifest", "at the failures", "at the new marker"],
)
def test_a_closer_that_wakes_up_late_mends_what_it_overwrote(night: Night, moment: tuple[str, str]):
    """Others have closed the batch anew meanwhile: what stays are the files and the marker of the newest closing."""
    store = Watched(night.store)
    store.before[moment] = lambda: everything_else(night)
    close(night, store)

    assert has_marker(night)
    assert night.batch.is_done
    assert ["r1", "r2", "r2", "r3", "r3"] == ids(night.folder / "manifest" / "part-00000.jsonl")
    assert [] == ids(night.folder / "failed.jsonl")
    assert 5 == lines(night.folder / "_SUCCESS")[0]["images"]


def test_two_closers_at_once_agree(night: Night):
    """One overstayed its lease: both write the same, and the batch is closed once."""
    store = Watched(night.store)
    store.before["put", MARKER] = lambda: close(night, now=night.now + 5000)

    assert close(night, store)
    assert has_marker(night)
    assert night.batch.is_done


def test_a_retry_that_takes_a_newer_marker_away_puts_it_back(night: Night):
    """It slept between queueing and its second look; by then the batch was finished and closed again."""
    close(night)
    store = Watched(night.store)
    with closing.reopened(night.ledger, store, night.batch, now=night.now, patience=HASTY):
        requeue(night, "r3")
        store.before["delete", MARKER] = lambda: finish(night)

    assert has_marker(night)
    assert night.batch.is_done
    assert 5 == lines(night.folder / "_SUCCESS")[0]["images"]


def finish(night: Night) -> None:
    """The queued job succeeds, and a worker closes the batch."""
    night.begin()
    night.succeed("r3", images=2)
    assert close(night)


def test_a_store_that_stumbles_is_tried_again(night: Night):
    """One refused call in a hundred does not put a closing off."""
    store = Watched(night.store)
    store.before["put_file", "night/metadata.jsonl"] = failing(BLIP)
    store.before["put", MARKER] = failing(BLIP)

    assert close(night, store)


class Down:
    """A store that is down, or does not let us in."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: failing(self._error)()


def test_a_store_that_is_down_puts_closing_off_for_longer_and_longer(night: Night):
    """Half as long again as it has been waiting; nothing is lost, and nobody has to do anything."""
    ended = night.now
    for waited, until in [(4, 9), (100, 150), (10_000, 10_600)]:
        assert not close(night, Down(BLIP), now=ended + waited)
        assert not close(night, now=ended + until - 1)
        assert night.batch.paused is None

    assert close(night, now=ended + 10_601)


@pytest.mark.parametrize("error", [DENIED, Permanent("no store can hold it", cause=Cause.STORAGE)], ids=["key", "kind"])
def test_a_store_that_refuses_shows_why(night: Night, error: Exception):
    """The pause holds nothing up, since no job is live: it tells the reason, and goes with it."""
    assert not close(night, Down(error))
    assert str(error) == night.batch.paused

    assert close(night, now=night.now + 4000)
    assert night.batch.paused is None


def test_a_retry_queues_nothing_when_the_marker_cannot_be_taken_away(night: Night):
    """Rather no retry than a marker that is not true."""
    close(night)
    with (
        pytest.raises(Refused),
        closing.reopened(night.ledger, Down(DENIED), night.batch, now=night.now, patience=HASTY),
    ):
        requeue(night, "r3")

    assert (True, 0) == (night.batch.is_done, night.batch.live)
    assert has_marker(night)
