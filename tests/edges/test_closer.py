"""The process that makes a batch's files: what it makes and says is what `make_files` makes and raises."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest

from imagejobs.batchfiles import Made, make_files
from imagejobs.errors import Transient
from tests.night import Night, a_spec
from worker.closer import make_apart

CHATTY = """
import imagejobs.batchfiles as files
make = files.make_files
files.make_files = lambda *given: print("a word from a library") or make(*given)
"""
NOSY = """
import os, pathlib
pathlib.Path(__file__).with_name("told").write_text(repr(dict(os.environ)))
"""


@pytest.fixture
def night(tmp_path: Path) -> Night:
    """A batch at its end."""
    night = Night(tmp_path, [a_spec("r1"), a_spec("r2"), a_spec("r3")])
    night.succeed("r1", "r2", images=2)
    night.fail("r3")
    return night


@pytest.fixture
def apart(tmp_path: Path) -> Path:
    """The folder to make them in."""
    return tmp_path / "apart"


def before_it_starts(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the process run this first."""
    (tmp_path / "sitecustomize.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).parents[2]}")


def files_in(folder: Path) -> dict[str, bytes]:
    """What was made there."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_makes_the_same_files(night: Night, tmp_path: Path, apart: Path):
    """To the byte, with the same counts."""
    here = tmp_path / "here"
    here.mkdir()
    apart.mkdir()
    made = make_files(night.ledger, night.batch, here), make_apart(night.ledger, night.batch, apart)

    assert (Made(images=4, parts=1),) * 2 == made
    assert 5 == len(files_in(here))
    assert files_in(here) == files_in(apart)


def test_what_is_printed_meanwhile_is_no_report(
    night: Night, tmp_path: Path, apart: Path, monkeypatch: pytest.MonkeyPatch
):
    """A library may have something to say."""
    before_it_starts(CHATTY, tmp_path, monkeypatch)
    apart.mkdir()

    assert 4 == make_apart(night.ledger, night.batch, apart).images


def test_it_has_no_secret_but_the_ledgers(night: Night, tmp_path: Path, apart: Path, monkeypatch: pytest.MonkeyPatch):
    """It calls no provider, no store and no Redis."""
    before_it_starts(NOSY, tmp_path, monkeypatch)
    for name in ("REPLICATE_API_TOKEN", "AWS_SECRET_ACCESS_KEY", "IMAGEJOBS_WEBHOOK_SECRET", "REDIS_URL"):
        monkeypatch.setenv(name, "a-secret")
    apart.mkdir()
    make_apart(night.ledger, night.batch, apart)
    told = ast.literal_eval((tmp_path / "told").read_text())

    assert str(night.ledger.database.engine.url) == told["DATABASE_URL"]
    assert "a-secret" not in told.values()


def test_a_ledger_that_cannot_be_opened_passes(night: Night, tmp_path: Path, apart: Path):
    """The worker had it open a moment ago: it will be back."""
    ledger = tmp_path / "ledger.sqlite"
    ledger.rename(tmp_path / "elsewhere")
    ledger.mkdir()

    with pytest.raises(Transient, match="cannot be opened"):
        make_apart(night.ledger, night.batch, apart)


def test_want_of_room_passes(night: Night, apart: Path):
    """Whatever the system says of the folder."""
    apart.touch()

    with pytest.raises(Transient, match="apart"):
        make_apart(night.ledger, night.batch, apart)


def test_one_that_breaks_is_a_closing_put_off(night: Night, apart: Path):
    """Whatever it died of; here, of a batch that the ledger does not have."""
    with pytest.raises(Transient, match="the process that made the files ended: exit code 1"):
        make_apart(night.ledger, replace(night.batch, key="another"), apart)
