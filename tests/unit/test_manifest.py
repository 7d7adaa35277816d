"""What the ledger knows becomes rows: the manifest's, the data set's, and those that can be submitted again."""

from __future__ import annotations

import csv
import gc
import io
import json
from datetime import UTC, datetime
from typing import Any

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from imagejobs.imagefolder import Metadata
from imagejobs.layout import extension_of, image_key
from imagejobs.manifest import (
    Writer,
    as_json,
    blocks,
    csv_writer,
    failure_record,
    image_record,
    iso,
    jsonl_writer,
    parquet_schema,
    parquet_writer,
    parts_of,
    resubmittable,
)

NAMED = {"batch", "id", "index", "uri", "sha256", "bytes", "width", "height", "content_type", "version", "input"}
NAMED |= {"seed", "prediction_id", "attempt", "created_at", "completed_at", "stored_at", "predict_time_s", "tags"}
NAMED |= {"schema_version"}


def a_row(**facts: Any) -> dict[str, Any]:
    """What `image_rows` gives for one image; `input` and `tags` are given as objects."""
    usual = {"job_id": 7, "id": "r1", "version": "o/n:abc", "input": {"prompt": "Möwe 🕊", "seed": 5}, "tags": {"n": 1}}
    usual |= {"index": 0, "attempt": 2, "uri": "s3://b/night/images/r1-0.png", "sha256": "ab" * 32, "bytes": 10}
    usual |= {"width": 64, "height": 48, "content_type": "image/png", "stored_at": 1700000002.25}
    usual |= {"prediction_id": "p1", "created_at": 1700000000.5, "completed_at": 1700000001.0, "predict_time_s": 1.5}
    row = {**usual, **facts}
    return {**row, "input": json.dumps(row["input"]), "tags": None if row["tags"] is None else json.dumps(row["tags"])}


def written(writer: Writer, *rows: dict[str, Any]) -> bytes:
    """The bytes of a file with these rows."""
    file = io.BytesIO()
    with writer(file) as write:
        if rows:
            write([image_record("night", row) for row in rows])
    return file.getvalue()


def metadata_of(*rows: dict[str, Any]) -> list[dict[str, Any]]:
    """The lines of `metadata.jsonl` for these rows."""
    metadata = Metadata(io.BytesIO())
    metadata.add(rows)
    return [json.loads(line) for line in metadata.lines()]


def columns_of(*inputs: dict[str, Any]) -> set[str]:
    """Which columns beside the fixed ones the data set has for images of these inputs."""
    lines = metadata_of(*(a_row(input=given, tags=None) for given in inputs))
    assert len({tuple(line) for line in lines}) == 1
    return set(lines[0]) - {"file_name", "id", "index", "version", "input", "tags"}


@pytest.mark.parametrize("writer", [jsonl_writer, csv_writer, parquet_writer])
def test_a_manifest_has_the_columns_that_scripts_rely_on(writer: Writer):
    """Their names are a contract with the outside, in every format."""
    data = written(writer, a_row())
    found = {
        jsonl_writer: lambda: list(json.loads(data)),
        csv_writer: lambda: next(csv.reader(io.StringIO(data.decode()))),
        parquet_writer: lambda: parquet.read_schema(io.BytesIO(data)).names,
    }[writer]()

    assert (NAMED, len(NAMED)) == (set(found), len(found))


def test_a_line_holds_objects_and_readable_times():
    """Whoever greps a manifest reads its times and its prompts as they are."""
    line = as_json(image_record("night", a_row()))
    record = json.loads(line)

    assert "Möwe 🕊" in line.decode()
    assert {"prompt": "Möwe 🕊", "seed": 5} == record["input"]
    assert {"n": 1} == record["tags"]
    assert "2023-11-14T22:13:20.500000Z" == record["created_at"]
    assert ("night", 5, 1) == (record["batch"], record["seed"], record["schema_version"])


def test_parquet_has_the_declared_schema():
    """Times are timestamps in UTC, free-form objects are JSON texts: the same types for every model."""
    table = parquet.read_table(io.BytesIO(written(parquet_writer, a_row(), a_row(tags=None, prediction_id=None))))

    assert parquet_schema() == table.schema
    assert pyarrow.timestamp("us", tz="UTC") == table.schema.field("stored_at").type
    first, second = table.to_pylist()
    assert datetime(2023, 11, 14, 22, 13, 22, 250_000, UTC) == first["stored_at"]
    assert {"prompt": "Möwe 🕊", "seed": 5} == json.loads(first["input"])
    assert (None, None) == (second["tags"], second["prediction_id"])


def test_parquet_without_an_image_is_an_empty_table():
    """A batch that failed altogether still has a manifest to open."""
    table = parquet.read_table(io.BytesIO(written(parquet_writer)))

    assert (0, parquet_schema()) == (table.num_rows, table.schema)


def test_a_torn_parquet_file_does_not_look_whole():
    """An error in the middle leaves what no reader takes for a table, also after the writer is forgotten."""
    file = io.BytesIO()
    blocks_of_one = [[image_record("night", a_row())], [{"batch": "night"}]]
    with pytest.raises(KeyError), parquet_writer(file) as write:
        list(map(write, blocks_of_one))
    gc.collect()

    with pytest.raises(pyarrow.ArrowInvalid):
        parquet.read_table(io.BytesIO(file.getvalue()))


@given(st.floats(min_value=0, max_value=4e9))
def test_jsonl_and_parquet_agree_on_a_moment(moment: float):
    """The two say the same microsecond, however the seconds' fraction falls."""
    row = a_row(created_at=moment)
    table = parquet.read_table(io.BytesIO(written(parquet_writer, row)))
    line = json.loads(written(jsonl_writer, row))

    assert table.column("created_at")[0].as_py() == datetime.fromisoformat(line["created_at"])


def test_no_moment_is_null():
    """A proxy that answers with images tells no times."""
    assert iso(None) is None


@pytest.mark.parametrize("without", [{}, {"seed": "five"}, {"seed": True}])
def test_a_seed_that_is_no_whole_number_is_null(without: dict[str, Any]):
    """Other models call other things a seed; the input holds them all the same."""
    assert image_record("night", a_row(input={"prompt": "x", **without}))["seed"] is None


def test_csv_keeps_commas_quotes_and_lines():
    """A prompt may hold anything."""
    prompt = 'a "quoted", prompt\nof two lines'
    table = csv.DictReader(io.StringIO(written(csv_writer, a_row(input={"prompt": prompt})).decode(), newline=""))

    assert [prompt] == [json.loads(record["input"])["prompt"] for record in table]


def test_a_failed_row_has_only_keys_that_submit_takes():
    """The cause stands elsewhere: `failed.jsonl` is submitted as it is."""
    row = {"row_id": "r1", "line": 3, "state": "failed", "version": "o/n", "input": '{"prompt":"x"}', "tags": '{"a":1}'}
    row |= {"outputs": 1, "attempt": 2, "cause": "safety", "error": "NSFW"}

    assert {"id": "r1", "version": "o/n", "input": {"prompt": "x"}, "tags": {"a": 1}} == resubmittable(row)
    assert {"id": "r1", "version": "o/n", "input": {"prompt": "x"}} == resubmittable({**row, "tags": None})
    assert ("r1", 3, "safety", "NSFW") == tuple(failure_record(row)[name] for name in ("id", "line", "cause", "error"))


def test_blocks_are_cut_by_what_they_weigh():
    """Inputs of a megabyte must not pile up by the thousand."""
    heavy = {"input": "x" * 9_000_000}

    assert [2, 2, 1] == [len(block) for block in blocks([heavy] * 5)]
    assert [4096, 904] == [len(block) for block in blocks([{"input": "{}"}] * 5000)]


@pytest.mark.parametrize(("rows", "parts"), [(0, [0]), (1, [1]), (2, [2]), (3, [2, 1]), (4, [2, 2])], ids=str)
def test_parts_are_full_but_for_the_last_one(rows: int, parts: list[int]):
    """There is always one, and never an empty one after a full one."""
    source = iter([a_row()] * rows)

    assert parts == [sum(1 for _ in part) for part in parts_of(source, most_rows=2)]


def test_fields_that_every_image_has_are_columns():
    """What a data set is filtered by needs no parsing; the whole input is there all the same."""
    (line,) = metadata_of(a_row(input={"prompt": "x", "width": 64, "on": True}, tags={"mood": "sad"}))

    assert {"prompt": "x", "width": 64, "on": True, "tags.mood": "sad"}.items() <= line.items()
    assert ("images/r1-0.png", "r1", 0, "o/n:abc") == tuple(
        line[name] for name in ("file_name", "id", "index", "version")
    )
    assert ({"prompt": "x", "width": 64, "on": True}, {"mood": "sad"}) == (
        json.loads(line["input"]),
        json.loads(line["tags"]),
    )


def test_a_field_that_one_image_lacks_is_no_column():
    """`datasets` takes the columns from the first rows and fails at a later one that differs."""
    assert {"prompt"} == columns_of({"prompt": "x", "negative_prompt": "y"}, {"prompt": "z"})


def test_a_field_of_two_kinds_is_no_column():
    """Nor can a column be text here and a number there."""
    assert {"prompt"} == columns_of({"prompt": "x", "size": 1}, {"prompt": "x", "size": "large"})


def test_whole_numbers_among_fractions_become_fractions():
    """7 and 7.5 are one kind of number."""
    lines = metadata_of(a_row(input={"scale": 7}), a_row(input={"scale": 7.5}))

    assert ["7.0", "7.5"] == [str(line["scale"]) for line in lines]


@pytest.mark.parametrize(
    "name", ["image", "file_name", "mask_file_name", "mask_file_names", "id", "index", "version", "input", "tags"]
)
def test_a_field_whose_name_means_something_else_is_no_column(name: str):
    """`datasets` would open it as a file, or it would hide a column of ours."""
    assert {"prompt", "profile_name"} == columns_of({"prompt": "x", "profile_name": "y", name: "z"})


@pytest.mark.parametrize("value", [["a"], {"a": 1}, "2025-11-24"])
def test_a_value_that_is_not_plain_is_no_column(value: Any):
    """Lists and objects differ from row to row, and texts that look like dates are read as dates, or not."""
    assert {"prompt"} == columns_of({"prompt": "x", "extra": value})


def test_an_image_is_found_by_batch_row_and_index():
    """The key is the same each time, so that storing twice overwrites."""
    assert "night/images/r1-2.png" == image_key("night", "r1", 2, "png")
    assert "png" == extension_of("s3://bucket/pre.fix/night/images/r.1-2.png")
