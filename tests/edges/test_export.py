"""Exporting a batch: its table as it stands now, to a file, a pipe, or a folder with the images."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from pyarrow import parquet
from sqlalchemy.exc import OperationalError

from imagejobs.errors import Complaint, Permanent
from imagejobs.manifest import parquet_schema
from producer.export import Form, export, export_imagefolder
from tests.night import Night, a_png, a_spec


@pytest.fixture
def night(tmp_path: Path) -> Night:
    """Two jobs with images, one still running."""
    night = Night(tmp_path, [a_spec("r1"), a_spec("r2"), a_spec("r3")])
    night.succeed("r1")
    night.succeed("r3", images=2)
    return night


def read(data: bytes, form: Form) -> list[tuple[str, int]]:
    """Which images a table tells of."""
    if form == "jsonl":
        rows = [json.loads(line) for line in data.splitlines()]
    elif form == "csv":
        rows = list(csv.DictReader(io.StringIO(data.decode(), newline="")))
    else:
        rows = parquet.read_table(io.BytesIO(data)).to_pylist()
    return [(row["id"], int(row["index"])) for row in rows]


@pytest.mark.parametrize("form", ["jsonl", "parquet", "csv"])
def test_an_unfinished_batch_exports_what_is_there_now(night: Night, tmp_path: Path, form: Form):
    """In every format, with the folders on its way made."""
    target = tmp_path / "new" / "folder" / f"table.{form}"

    assert 3 == export(night.ledger, night.batch, target, form=form)
    assert [("r1", 0), ("r3", 0), ("r3", 1)] == read(target.read_bytes(), form)


@pytest.mark.parametrize("form", ["jsonl", "parquet", "csv"])
def test_a_pipe_gets_the_same_bytes_as_a_file(night: Night, tmp_path: Path, form: Form):
    """`imagejobs export … | …` needs no file; what cannot be sought in will do."""
    export(night.ledger, night.batch, tmp_path / "table", form=form)
    stream = Pipe()
    export(night.ledger, night.batch, stream, form=form)

    assert (tmp_path / "table").read_bytes() == b"".join(stream.pieces)


class Pipe(io.RawIOBase):
    """Takes bytes and nothing else, as standard output into a pipe does."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:
        self.pieces.append(bytes(data))
        return len(data)


def test_a_batch_without_an_image_exports_an_empty_table(tmp_path: Path):
    """Its schema is there all the same."""
    night = Night(tmp_path, [a_spec("r1")])

    assert 0 == export(night.ledger, night.batch, tmp_path / "table.parquet", form="parquet")
    assert parquet_schema() == parquet.read_schema(tmp_path / "table.parquet")


def test_a_file_that_cannot_be_written_is_named(night: Night, tmp_path: Path):
    """And nothing is left beside it."""
    (tmp_path / "file").touch()

    with pytest.raises(Complaint, match=r"table\.jsonl cannot be written"):
        export(night.ledger, night.batch, tmp_path / "file" / "table.jsonl")


def test_a_broken_export_keeps_the_old_file(night: Night, tmp_path: Path):
    """A table is whole or not there; here the ledger fails in the middle of it."""
    target = tmp_path / "table.jsonl"
    target.write_text("old")
    with night.ledger.database.write() as connection:
        connection.exec_driver_sql("DROP TABLE images")

    with pytest.raises(OperationalError):
        export(night.ledger, night.batch, target)
    assert "old" == target.read_text()
    assert [target] == list(tmp_path.glob("*table.jsonl*"))


def test_an_imagefolder_has_the_images_and_their_metadata(night: Night, tmp_path: Path):
    """A folder to take along, from a batch that is not even finished."""
    folder = tmp_path / "set"

    assert 3 == export_imagefolder(night.ledger, night.store, night.batch, folder)
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    assert ["images/r1-0.png", "images/r3-0.png", "images/r3-1.png"] == [row["file_name"] for row in rows]
    for row in rows:
        assert (night.folder / row["file_name"]).read_bytes() == (folder / row["file_name"]).read_bytes()


def test_an_imagefolder_goes_on_where_it_was_cut_off(night: Night, tmp_path: Path):
    """Images that are there are not fetched again; a broken one is."""
    folder = tmp_path / "set"
    export_imagefolder(night.ledger, night.store, night.batch, folder)
    kept = folder / "images" / "r1-0.png"
    before = kept.stat().st_ino
    (folder / "images" / "r3-0.png").write_bytes(b"half")
    export_imagefolder(night.ledger, night.store, night.batch, folder)

    assert before == kept.stat().st_ino
    assert (night.folder / "images" / "r3-0.png").read_bytes() == (folder / "images" / "r3-0.png").read_bytes()


def test_an_image_that_was_changed_is_not_exported(night: Night, tmp_path: Path):
    """A data set must not hold what the ledger does not know."""
    night.put_image("r1", 0, a_png(200))

    with pytest.raises(Permanent, match=r"r1-0\.png has other bytes"):
        export_imagefolder(night.ledger, night.store, night.batch, tmp_path / "set")
    assert not (tmp_path / "set" / "metadata.jsonl").exists()
