"""Tables of rows whose cells nobody can read: each is a fault with a line, or a complaint about the file."""

from __future__ import annotations

from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from imagejobs.errors import BadInput, Complaint
from imagejobs.models.catalogue import Models
from imagejobs.settings import DEFAULT_VERSION
from producer.intake import Intake

OFFSETS = pyarrow.array([0, 2], pyarrow.int32()).buffers()[1]


def intake(path: Path) -> Intake:
    models = Models(fetch=lambda _: None, recall=lambda _: None, remember=lambda *_: None)
    return Intake(path, models=models, default_version=DEFAULT_VERSION)


def test_a_cell_that_is_not_utf8_is_a_fault_of_its_row(tmp_path: Path) -> None:
    """Also where a number is wanted."""
    path = tmp_path / "rows.csv"
    path.write_bytes(b"prompt,width\na,512\nb,5\xff2\n")
    with intake(path) as rows, pytest.raises(BadInput) as bad:
        rows.check()

    assert [3] == [fault.line for fault in bad.value.faults]
    assert "UTF-8" in str(bad.value)


@pytest.mark.parametrize(
    "column",
    [
        pyarrow.array([10**9], pyarrow.date32()),
        pyarrow.array([2**62], pyarrow.duration("s")),
        pyarrow.Array.from_buffers(pyarrow.string(), 1, [None, OFFSETS, pyarrow.py_buffer(b"\xff\xfe")]),
    ],
    ids=["a date beyond the calendar", "an age", "text that is none"],
)
def test_a_parquet_value_that_python_cannot_hold_is_a_complaint(tmp_path: Path, column: pyarrow.Array) -> None:
    """In words, not with a trace."""
    path = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.table({"prompt": column}), path)
    with intake(path) as rows, pytest.raises(Complaint):
        rows.check()
