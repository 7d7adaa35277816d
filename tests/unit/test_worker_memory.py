"""What a worker needed for a moment is the machine's again, and what its threads free is any thread's."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Mapping

import pytest

OURS = "glibc.malloc.tcache_count=0"
BEGUN_ANEW = ("-X", "imagejobs_begun_anew")

with_glibc = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="it is glibc that keeps it, and that can be told"
)


def output(program: str, *options: str, tunables: str = "") -> str:
    """What Python prints for it, begun with these options and glibc's tunables."""
    environ: Mapping[str, str] = {**os.environ, "GLIBC_TUNABLES": tunables}
    command = [sys.executable, *options, "-c", program]
    return subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, check=True).stdout


PROGRAM = """
import resource
from pathlib import Path
from worker import memory

def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

memory.spare()
before = resident()
for size in (9_000_000, 8_000_000):  # a manifest and the next one
    file = b"x" * size
    del file
memory.give_back()
print(resident() - before)
"""


@with_glibc
def test_no_room_is_kept_for_the_next_manifest():
    """By default glibc takes the first large block that is freed for a sign that more will come."""
    assert int(output(PROGRAM)) < 1_000_000


THREADS = """
import threading
from pathlib import Path
from worker import memory

def resident() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:")) * 1000

def some_of_each_size() -> None:
    blocks = [bytes(size) for size in range(513, 1000, 16) for _ in range(7)]
    del blocks
    told.wait()
    freed.wait()

memory.spare()
count = 20
told, freed = threading.Barrier(count + 1), threading.Event()
threads = [threading.Thread(target=some_of_each_size) for _ in range(count)]
before = resident()
for thread in threads:
    thread.start()
told.wait()
memory.give_back()
print(resident() - before)
freed.set()
"""


@with_glibc
def test_no_thread_keeps_what_it_freed():
    """By default each keeps some of every size that it ever needed, for ever."""
    kept, by_default = (int(output(program)) for program in (THREADS, THREADS.replace("memory.spare()", "")))

    assert kept < by_default - 1_500_000


POOLS = """
import ctypes, os, threading
from worker import memory

memory.spare()
libc = ctypes.CDLL(None)
threads = [threading.Thread(target=lambda: bytes(2000)) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc.fdopen.restype = ctypes.c_void_p
stream = libc.fdopen(1, b"w")
libc.malloc_info(0, ctypes.c_void_p(stream))
libc.fflush(ctypes.c_void_p(stream))
"""


@with_glibc
def test_all_threads_share_one_pool_also_where_the_tunables_do_not_arrive():
    """A wrapper may clear the environment."""
    shared = output(POOLS, *BEGUN_ANEW)
    by_default = output(POOLS.replace("memory.spare()", ""))

    assert 1 == shared.count("<heap ") < by_default.count("<heap ")


@with_glibc
@pytest.mark.parametrize(
    ("tunables", "environ"),
    [("glibc.malloc.arena_max=4", {}), ("", {"MALLOC_ARENA_MAX": "4"})],
    ids=["tunable", "older"],
)
def test_the_owner_may_want_more_pools(tunables, environ, monkeypatch):
    """By either of glibc's two names for it."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    assert 1 < output(POOLS, tunables=tunables).count("<heap ")


SHOW = "import os; from worker import memory; memory.spare(); print(os.environ['GLIBC_TUNABLES'])"


@with_glibc
@pytest.mark.parametrize(
    ("options", "tunables", "found"),
    [
        ((), "", OURS),
        ((), "glibc.malloc.trim_threshold=99", f"glibc.malloc.trim_threshold=99:{OURS}"),
        ((), "glibc.malloc.tcache_count=3", "glibc.malloc.tcache_count=3"),
        (BEGUN_ANEW, "", ""),  # it did not get through the first time
    ],
)
def test_what_the_owner_has_tuned_stays_and_a_program_begins_anew_once(options, tunables, found):
    """With glibc's tunables, which are read when a program begins."""
    assert f"{found}\n" == output(SHOW, *options, tunables=tunables)


@with_glibc
@pytest.mark.parametrize("program", ["None", "''", "'/nowhere/python'"])
def test_a_program_that_cannot_begin_anew_goes_on(program):
    """Python does not always know where it is."""
    assert "\n" == output(f"import sys; sys.executable = {program}; {SHOW}")
