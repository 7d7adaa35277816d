"""Files of rows, mutated: every fault is told with its line, or the rows become specs that can be kept and sent."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from imagejobs.errors import BadInput, BadSetting, Complaint
from imagejobs.job import Spec, SpecText
from imagejobs.models.catalogue import Models
from imagejobs.models.schema import without_references
from imagejobs.settings import DEFAULT_VERSION
from imagejobs.spec import is_name, is_version, parse_row, row_bytes
from producer.intake import Intake
from tests.fuzz.budget import examples
from tests.fuzz.mutants import JUNK, TEXTS, mutants, written

FULL = {
    "id": "r1",
    "version": DEFAULT_VERSION,
    "input": {"prompt": "a lighthouse at dusk", "width": 768, "guidance_scale": 7.5, "seed": 5},
    "tags": {"chapter": 1, "mood": "calm"},
}
SHORT = {"id": "r2", "prompt": "Möwe", "width": 512, "height": 512, "num_outputs": 2, "tags": {"a": "b"}}
OTHER = {
    "version": "owner/model:" + "a" * 64,
    "input": {"text": "x", "steps": 4, "style": "bold", "extra": [1, {"a": 2}]},
}
ROWS = (FULL, SHORT, OTHER)
FLAT = {
    "id": "r3",
    "prompt": "x",
    "width": "768",
    "guidance_scale": "7.5",
    "tags.mood": "calm",
    "input": "",
    "seed": "5",
}
SCHEMA = {
    "type": "object",
    "required": ["text"],
    "properties": {
        "text": {"type": "string", "maxLength": 50, "pattern": "^[a-z ]+$"},
        "steps": {"type": "integer", "minimum": 1, "maximum": 50, "default": 20},
        "style": {"allOf": [{"$ref": "#/components/schemas/style"}], "default": "bold"},
        "extra": {"type": "array", "items": {"anyOf": [{"type": "number"}, {"type": "object"}]}},
        "seed": {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}]},
    },
    "components": {"schemas": {"style": {"enum": ["bold", "plain"], "type": "string"}}},
}


def models(fetch: Callable[[str], Mapping[str, Any] | None] = lambda _: SCHEMA) -> Models:
    return Models(fetch=fetch, recall=lambda _: None, remember=lambda *_: None, unchecked=False)


MODELS = models()


def assert_fit(spec: Spec) -> None:
    """It can be kept in a database, put into a key, a manifest and a request, and read again as the same."""
    assert is_name(spec.id)
    assert is_version(spec.version)
    assert spec.outputs >= 1
    body = json.dumps({"version": spec.version, "input": spec.input, "tags": spec.tags}, allow_nan=False)
    assert "\0" not in json.loads(body)["version"]
    again = parsed(
        row_bytes({"id": spec.id, "version": spec.version, "input": spec.input, "tags": spec.tags}, line=spec.line)
    )
    assert SpecText.of(spec).fingerprint == SpecText.of(again).fingerprint
    SpecText.of(spec).fingerprint.encode()


def parsed(raw: bytes | Mapping[str, Any]) -> Spec:
    usual: dict[str, Any] = {"default_version": DEFAULT_VERSION, "batch": "night", "checks": MODELS.check}
    return parse_row(raw, line=1, number=1, **usual)


def accepted(raw: bytes | Mapping[str, Any]) -> Spec | None:
    try:
        return parsed(raw)
    except BadInput as bad:
        assert bad.faults
        assert str(bad).replace("\n", "").isprintable()
        assert len(str(bad)) < 20_000
        return None


@given(mutants(ROWS) | JUNK)
@settings(max_examples=examples(400))
def test_a_mutant_of_a_row_is_a_spec_or_its_faults(value: Any):
    """As JSON from a file, and as a mapping from a program."""
    if (spec := accepted(written(value))) is not None:
        assert_fit(spec)
    if isinstance(value, dict) and (spec := accepted(value)) is not None:
        assert_fit(spec)


@given(st.binary(max_size=200) | st.tuples(mutants(ROWS), st.integers(0, 400)).map(lambda it: written(it[0])[: it[1]]))
@settings(max_examples=examples(200))
def test_noise_is_no_row(raw: bytes):
    """Cut off, binary, or nothing at all."""
    if (spec := accepted(raw)) is not None:
        assert_fit(spec)


def taken_in(path: Path) -> list[Spec] | None:
    """What a submit would make of a file; None when it complains, which it does before anything is sent."""
    try:
        with Intake(path, models=MODELS, default_version=DEFAULT_VERSION) as intake:
            checked = intake.check()
            specs = [text.spec() for text in intake.specs()]
            assert (checked.total, checked.images) == (len(specs), sum(spec.outputs for spec in specs))
            assert is_name(intake.key)
            return specs
    except Complaint as complaint:
        assert len(str(complaint)) < 60_000
        str(complaint).encode()
        return None


LINES = st.lists(
    mutants(ROWS, most=1).map(written) | st.sampled_from([b"", b"  ", b"\xef\xbb\xbf", b"\xff\xfe{", b"{}\r", b"null"]),
    max_size=5,
)


@given(LINES, st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\r"]), st.booleans(), st.integers(-20, 0))
@settings(max_examples=examples(120), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_of_lines(tmp_path: Path, lines: list[bytes], ending: bytes, is_squeezed: bool, cut: int):
    """Blank and broken lines, marks of other encodings, packed, cut off."""
    data = ending.join(lines) + ending
    path = tmp_path / ("rows.jsonl.gz" if is_squeezed else "rows.jsonl")
    packed = gzip.compress(data, 1, mtime=0) if is_squeezed else data
    path.write_bytes(packed[: len(packed) + cut] if is_squeezed else packed)
    for spec in taken_in(path) or ():
        assert_fit(spec)


def as_csv(rows: list[Any]) -> bytes:
    names = list(dict.fromkeys(name for row in rows if isinstance(row, dict) for name in row))
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(names)
    for row in rows:
        writer.writerow([row.get(name, "") for name in names] if isinstance(row, dict) else [row])
    return file.getvalue().encode("utf-8", "surrogatepass")


@given(
    st.lists(mutants([FLAT], most=2), min_size=1, max_size=3).map(as_csv) | st.binary(max_size=120),
    st.lists(
        st.tuples(st.integers(0, 400), st.sampled_from([b'"', b",", b"\n", b"\0", b"\xff", b"[", b"1e999", b"tags."]))
    ),
)
@settings(max_examples=examples(200), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_table_of_text(tmp_path: Path, data: bytes, strewn: list[tuple[int, bytes]]):
    """Quotes left open, commas too many, cells of any text under columns of any name."""
    for place, piece in strewn[:3]:
        data = data[: place % (len(data) + 1)] + piece + data[place % (len(data) + 1) :]
    path = tmp_path / "rows.csv"
    path.write_bytes(data)
    for spec in taken_in(path) or ():
        assert_fit(spec)


def as_parquet(table: pyarrow.Table) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(table, sink)
    return sink.getvalue()


COLUMNS: list[Any] = [
    pyarrow.array(["a", None, "b"]),
    pyarrow.array([768, 512, None], pyarrow.int32()),
    pyarrow.array([1.5, float("nan"), float("inf")]),
    pyarrow.array([b"\xff\xfe", b"x", None], pyarrow.binary()),
    pyarrow.array([2**55, -(2**50), 0], pyarrow.timestamp("ms")),
    pyarrow.array([10**9, -1, None], pyarrow.date32()),
    pyarrow.array([2**62, 1, 2], pyarrow.duration("s")),
    pyarrow.array([{"prompt": "x", "width": 256}, None, {"prompt": None, "width": 1}]),
    pyarrow.array([[("a", 1)], [], None], pyarrow.map_(pyarrow.string(), pyarrow.int64())),
    pyarrow.array([[1, None], [], [float(3)]]),
    pyarrow.array([True, None, False]),
    pyarrow.array([1, 2, 3], pyarrow.time64("ns")),
    pyarrow.Array.from_buffers(
        pyarrow.string(),
        3,
        [None, pyarrow.array([0, 1, 2, 3], pyarrow.int32()).buffers()[1], pyarrow.py_buffer(b"\xff\xfea")],
    ),
    pyarrow.DictionaryArray.from_arrays(pyarrow.array([0, None, 1]), pyarrow.array(["x", "y"])),
    pyarrow.nulls(3),
]
NAMES = st.sampled_from(
    ["id", "prompt", "width", "input", "tags", "tags.mood", "tags.", "version", "seed", "", "\0", "é"]
)


@given(
    st.lists(
        st.tuples(NAMES | TEXTS.filter(lambda text: text.isprintable()), st.sampled_from(COLUMNS)),
        min_size=1,
        max_size=4,
    ),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=3),
    st.integers(0, 200),
)
@settings(max_examples=examples(200), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_table_of_columns(tmp_path: Path, columns: Any, changes: list[tuple[int, int]], cut: int):
    """Columns of every type under every name, some of them twice; pages, footers and magic numbers damaged."""
    data = bytearray(as_parquet(pyarrow.table([column for _, column in columns], names=[name for name, _ in columns])))
    for place, value in changes:
        data[place % len(data)] = value
    path = tmp_path / "rows.parquet"
    path.write_bytes(bytes(data[: len(data) - (cut if cut < 20 else 0)]))
    for spec in taken_in(path) or ():
        assert_fit(spec)


@given(mutants([SCHEMA], most=3), st.lists(mutants([OTHER["input"]], most=2), min_size=1, max_size=3))
@settings(max_examples=examples(400))
def test_a_mutant_of_a_schema_checks_or_is_refused(schema: Any, inputs: list[Any]):
    """A model's schema is somebody else's too: what cannot be used is a bad setting, and never a crash or a hang."""
    try:
        known = models(lambda _: json.loads(written(schema))).check("owner/model:" + "b" * 64)
    except (BadSetting, ValueError) as error:
        assert isinstance(error, BadSetting) or not isinstance(schema, dict)
        return
    row = {"version": "owner/model:" + "b" * 64}
    for given_input in inputs:
        try:
            raw = written({**row, "input": given_input})
            usual: dict[str, Any] = {"default_version": DEFAULT_VERSION, "batch": "b", "checks": lambda _: known}
            spec = parse_row(raw, line=1, number=1, **usual)
        except (BadInput, BadSetting) as bad:
            assert len(str(bad)) < 30_000
            str(bad).encode()
        else:
            json.dumps(spec.input, allow_nan=False)
            SpecText.of(spec).fingerprint.encode()


def test_a_schema_that_doubles_at_every_turn_is_refused():
    """Thirty lines that would unfold to a billion."""
    components = {f"c{n}": {"anyOf": [{"$ref": f"#/components/c{n + 1}"}] * 16} for n in range(8)}
    schema = {
        "properties": {"text": {"$ref": "#/components/c0"}},
        "components": {**components, "c8": {"type": "string"}},
    }
    with pytest.raises(BadSetting, match="unfolds"):
        without_references(schema)
