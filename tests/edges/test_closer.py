"""The process that writes a batch's files: what it writes and says is what `write_files` writes and raises."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from imagejobs.batchfiles import write_files
from imagejobs.errors import Cause, Permanent, Refused, Transient
from imagejobs.patience import Patience
from tests.night import Night, a_spec
from worker.closer import write_apart

HASTY = Patience(sleep=lambda _: None)


@pytest.fixture
def night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Night:
    """A batch at its end, and the environment of a worker that would close it."""
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    monkeypatch.setenv("IMAGEJOBS_STORE", (tmp_path / "store").as_uri())
    night = Night(tmp_path, [a_spec("r1"), a_spec("r2"), a_spec("r3")])
    night.succeed("r1", "r2", images=2)
    night.fail("r3")
    return night


def files_of(night: Night) -> dict[str, bytes]:
    """What is in the batch's folder beside its images."""
    found = (path for path in night.folder.rglob("*") if path.is_file() and path.suffix != ".png")
    return {str(path.relative_to(night.folder)): path.read_bytes() for path in found}


def test_it_writes_the_same_files(night: Night):
    """To the byte, with the same count."""
    images = write_files(night.ledger, night.store, night.batch, patience=HASTY)
    expected = files_of(night)
    for name in expected:
        (night.folder / name).unlink()

    assert images == write_apart(night.ledger, night.store, night.batch, patience=HASTY) == 4
    assert expected == files_of(night)


def test_what_the_store_raises_is_raised_here(night: Night):
    """By its kind and in its words: a store that refuses pauses the batch, with the reason."""
    (night.folder / "manifest").touch()  # where a folder should be
    with pytest.raises((Refused, Permanent)) as expected:
        write_files(night.ledger, night.store, night.batch, patience=HASTY)
    with pytest.raises(type(expected.value)) as raised:
        write_apart(night.ledger, night.store, night.batch, patience=HASTY)

    assert (str(expected.value), Cause.STORAGE) == (str(raised.value), raised.value.cause)


def test_a_ledger_that_cannot_be_opened_passes(night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The worker had it open a moment ago: it will be back."""
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}")

    with pytest.raises(Transient, match="cannot be opened"):
        write_apart(night.ledger, night.store, night.batch, patience=HASTY)


def test_one_that_breaks_is_a_closing_put_off(night: Night):
    """Whatever it died of; here, of a batch that the ledger does not have."""
    with pytest.raises(Transient, match="the process that wrote the files ended: exit code 1"):
        write_apart(night.ledger, night.store, replace(night.batch, key="another"), patience=HASTY)
