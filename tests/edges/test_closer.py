"""The process that makes a batch's files: what it makes and says is what `make_files` makes and raises."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from imagejobs.batchfiles import Made, Rows, make_files
from imagejobs.errors import Transient
from imagejobs.filing import rows_of
from imagejobs.manifest import to_line
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
SECRETS = ("REPLICATE_API_TOKEN", "AWS_SECRET_ACCESS_KEY", "IMAGEJOBS_WEBHOOK_SECRET", "REDIS_URL", "DATABASE_URL")


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
    made = make_files(rows(night), here), make_apart(rows(night), apart)

    assert (Made(images=4, parts=1),) * 2 == made
    assert 5 == len(files_in(here))
    assert files_in(here) == files_in(apart)


def rows(night: Night) -> Rows:
    """What the ledger has."""
    return rows_of(night.ledger, night.batch)


def test_what_is_printed_meanwhile_is_no_report(
    night: Night, tmp_path: Path, apart: Path, monkeypatch: pytest.MonkeyPatch
):
    """A library may have something to say."""
    before_it_starts(CHATTY, tmp_path, monkeypatch)
    apart.mkdir()

    assert 4 == make_apart(rows(night), apart).images


def test_it_has_no_secret(night: Night, tmp_path: Path, apart: Path, monkeypatch: pytest.MonkeyPatch):
    """It calls no provider, no store, no Redis and no ledger."""
    before_it_starts(NOSY, tmp_path, monkeypatch)
    for name in SECRETS:
        monkeypatch.setenv(name, "a-secret")
    apart.mkdir()
    make_apart(rows(night), apart)

    assert "a-secret" not in ast.literal_eval((tmp_path / "told").read_text()).values()


def test_it_loads_neither_ledger_nor_doors():
    """It would take longer to begin than to make the files of a few thousand images."""
    code = "import worker.closer, json, sys; print(json.dumps([*sys.modules]))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert [] == [
        name for name in ("sqlalchemy", "celery", "redis", "boto3", "requests", "structlog") if name in loaded
    ]


def test_a_ledger_that_breaks_in_the_midst_is_heard_of(night: Night, apart: Path):
    """By the worker, which reads it; the process does not wait for the rest, nor take what it had for all."""

    def half() -> Iterator[dict[str, Any]]:
        yield next(rows(night).images)
        raise ConnectionAbortedError("away")

    apart.mkdir()
    with pytest.raises(ConnectionAbortedError, match="away"):
        make_apart(Rows(batch=night.batch.key, images=half(), given_up=iter(())), apart)


def test_one_that_is_stopped_is_not_waited_for(
    night: Night, tmp_path: Path, apart: Path, monkeypatch: pytest.MonkeyPatch
):
    """It reads nothing, and the pipe is full but for what is still to be written when the ledger breaks."""
    before_it_starts("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)", tmp_path, monkeypatch)
    row = {**next(rows(night).images), "input": "x" * 1024}
    fitting = how_many_fit(to_line(row))

    def as_many_as_fit() -> Iterator[dict[str, Any]]:
        yield from [row] * fitting
        raise ConnectionAbortedError("away")

    apart.mkdir()
    with pytest.raises(ConnectionAbortedError, match="away"):
        make_apart(Rows(batch=night.batch.key, images=as_many_as_fit(), given_up=iter(())), apart)


def how_many_fit(line: bytes) -> int:
    """How many such lines a pipe takes of which nobody reads: the last ones wait to be written when it is closed."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    pipe, fitting = os.fdopen(writing, "wb"), 0
    try:
        while True:
            pipe.write(line)
            fitting += 1
    except BlockingIOError:
        return fitting
    finally:
        os.close(reading)
        with suppress(OSError):
            pipe.close()


@pytest.mark.parametrize("told", [b"", b"\n", b'{"id": "r1"'])
def test_rows_that_end_too_early_are_not_all_rows(apart: Path, told: bytes):
    """A worker that dies closes the pipe; where nothing ties the process to it, that must not look like the end."""
    apart.mkdir()
    command = [sys.executable, "-m", "worker.closer", "night", str(apart)]
    done = subprocess.run(command, input=told, capture_output=True, check=False)

    assert (1, b"") == (done.returncode, done.stdout)


def test_want_of_room_passes(night: Night, apart: Path):
    """Whatever the system says of the folder, and however much it was still to be told."""
    apart.touch()
    (row,) = (row for row in rows(night).images if (row["id"], row["index"]) == ("r1", 0))

    with pytest.raises(Transient, match="apart"):
        make_apart(Rows(batch="night", images=iter([row] * 5000), given_up=iter(())), apart)


def test_one_that_breaks_is_a_closing_put_off(apart: Path):
    """Whatever it died of; here, of a row that is none."""
    apart.mkdir()

    with pytest.raises(Transient, match="the process that made the files ended: exit code 1"):
        make_apart(Rows(batch="night", images=iter([{"input": "{}"}]), given_up=iter(())), apart)
