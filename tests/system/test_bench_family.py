"""A contestant's CPU time is that of its whole family: of children that ended, of orphans, of the killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.bench import reaper
from ops.bench.contestants import ROOT
from ops.bench.family import Family
from tests.servers.waiting import eventually

BURNT_SECONDS = 0.4
# The kernel tells ticks of a hundredth, of a process's own time and of the system's for it, and cuts both off.
BURN = f"import time\nwhile time.process_time() < {BURNT_SECONDS} + 0.02: pass\n"


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Family]:
    with Family(folder=tmp_path, environ={"PATH": os.environ["PATH"]}) as family:
        yield family


def python(code: str) -> list[str]:
    return ["python3", "-I", "-S", "-c", code]


def members(family: Family) -> int:
    return len(family.pss_bytes())


def test_children_that_ended_count(family: Family) -> None:
    """Two that worked one after the other, while their parent waits, and both beside it."""
    twice = f"for _ in (1, 2): subprocess.run([sys.executable, '-c', {BURN!r}])"
    code = f"import subprocess, sys, time\n{twice}\ntime.sleep(600)"
    family.start([python(code)])

    eventually(lambda: family.cpu_seconds() >= 2 * BURNT_SECONDS, timeout_seconds=60, what="CPU time of the ended")
    assert family.is_running


def test_orphans_count_and_are_killed(family: Family) -> None:
    """Nobody gets away by ending its parent or by a session of its own."""
    orphan = f"{BURN}\ntime.sleep(600)"
    code = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {orphan!r}], start_new_session=True)"
    family.start([python(code)])
    eventually(lambda: family.cpu_seconds() >= BURNT_SECONDS, timeout_seconds=60, what="CPU time of the orphan")
    eventually(lambda: members(family) == 1, timeout_seconds=60, what="the orphan alone")

    family.kill()

    assert (False, 0) == (family.is_running, members(family))
    assert family.cpu_seconds() >= BURNT_SECONDS


def test_what_was_killed_stays_counted_after_a_new_start(family: Family) -> None:
    """As when all workers are killed at 30 % of a run."""
    family.start([python(f"{BURN}\ntime.sleep(600)")] * 2)
    eventually(lambda: family.cpu_seconds() >= 2 * BURNT_SECONDS, timeout_seconds=60, what="CPU time of two")
    family.kill()
    family.start([python(f"{BURN}\ntime.sleep(600)")])

    eventually(lambda: family.cpu_seconds() >= 3 * BURNT_SECONDS, timeout_seconds=60, what="CPU time of three")


def test_a_family_that_has_only_just_begun_is_killed(family: Family) -> None:
    """Also the members that its reaper has not started yet."""
    family.start([python("import time; time.sleep(600)")] * 20)
    family.kill()

    assert (False, 0) == (family.is_running, members(family))


def test_memory_is_that_of_every_process(family: Family) -> None:
    """A child that holds 50 MB is seen beside its parent."""
    child = "import time; held = b'x' * 50_000_000; time.sleep(600)"
    family.start([python(f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}])")])

    eventually(
        lambda: max(family.pss_bytes().values(), default=0) > 50e6, timeout_seconds=60, what="the child's memory"
    )
    assert members(family) == 2


def test_a_family_ends_with_whoever_started_it(tmp_path: Path) -> None:
    """A benchmark that is killed leaves no contestant behind."""
    command = python("import time; time.sleep(600)")
    code = f"""
import os, pathlib, signal
from ops.bench.family import Family
Family(folder=pathlib.Path({str(tmp_path)!r}), environ=dict(os.environ)).start([{command}] * 2)
signal.pause()
"""
    launcher = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    eventually(lambda: len(reaper.family(launcher.pid)) == 3, timeout_seconds=60, what="two and their reaper")
    started = reaper.family(launcher.pid)
    launcher.kill()
    launcher.wait()

    eventually(lambda: not any(map(reaper.is_alive, started)), timeout_seconds=60, what="nobody left")
