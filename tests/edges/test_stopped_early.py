"""Told to stop while it is still loaded: a process ends as it would later, and tells nobody of Python's insides."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# Stands for a library while a class of it is made: what is raised there becomes a RuntimeError up to Python 3.11.
SLOW_LIBRARY = """
import time

class Slow:
    def __set_name__(self, owner, name):
        print("loading", flush=True)
        time.sleep(60)

class Owner:
    slow = Slow()
"""


@pytest.mark.parametrize(
    ("program", "library", "number", "code"),
    [
        pytest.param("worker", "celery", signal.SIGTERM, 0, id="worker"),
        pytest.param("worker", "celery", signal.SIGINT, 0, id="worker-by-hand"),
        pytest.param("producer", "typer", signal.SIGINT, 130, id="command-line"),
    ],
)
def test_told_to_stop_while_a_library_is_loaded(
    tmp_path: Path, program: str, library: str, number: signal.Signals, code: int
) -> None:
    """Its exit code is that of later moments, and nothing is printed."""
    (tmp_path / f"{library}.py").write_text(SLOW_LIBRARY)
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = ["env", "--default-signal=INT", sys.executable, "-m", program]  # a shell's background job ignores it
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(number)
        rest = process.stdout.read()

    assert ("loading\n", "", code) == (first, rest, process.returncode)


# Python runs it before anything of ours. The second time, it goes on once there is something to be heard.
BEGINNING_ANEW = """
import signal, sys, time

if "imagejobs_begun_anew" in sys._xoptions:
    print("beginning anew", flush=True)
    until = time.monotonic() + 60
    while not signal.sigpending() and time.monotonic() < until:
        time.sleep(0.01)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="elsewhere nothing begins anew")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_while_it_begins_anew(tmp_path: Path, number: signal.Signals) -> None:
    """Held back, and heard by the program that it becomes."""
    (tmp_path / "sitecustomize.py").write_text(BEGINNING_ANEW)
    environ = {**os.environ, "PYTHONPATH": str(tmp_path), "GLIBC_TUNABLES": ""}
    command = ["env", "--default-signal=INT", sys.executable, "-m", "worker"]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(number)
        rest = process.stdout.read()

    assert ("beginning anew\n", "", 0) == (first, rest, process.returncode)
