"""What a worker needed for a moment is the machine's again, and what its threads free is any thread's."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

OURS = "glibc.malloc.arena_max=1:glibc.malloc.tcache_count=0"
MARKED = ("GLIBC_TUNABLES", "_IMAGEJOBS_BEGUN_ANEW")

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


@pytest.mark.skipif(sys.platform != "linux", reason="it is glibc that keeps it, and that can be told")
def test_no_room_is_kept_for_the_next_manifest():
    """By default glibc takes the first large block that is freed for a sign that more will come."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, check=True)

    assert int(done.stdout) < 1_000_000


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


@pytest.mark.skipif(sys.platform != "linux", reason="it is glibc that gives each thread a cache")
def test_no_thread_keeps_what_it_freed():
    """By default each keeps some of every size that it ever needed, for ever."""
    kept = [
        int(subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True).stdout)
        for program in (THREADS, THREADS.replace("memory.spare()", ""))
    ]

    assert kept[0] < kept[1] - 1_500_000


@pytest.mark.skipif(sys.platform != "linux", reason="it is glibc that has tunables")
@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, f"{OURS}"),
        ({"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=99"}, f"glibc.malloc.trim_threshold=99:{OURS}"),
        ({"_IMAGEJOBS_BEGUN_ANEW": "1"}, "None"),  # it did not get through the first time
    ],
)
def test_what_the_owner_has_tuned_stays_and_a_program_begins_anew_once(given, found):
    """With glibc's tunables, which are read when a program begins."""
    show = "import os; from worker import memory; memory.spare(); print(os.environ.get('GLIBC_TUNABLES'))"
    environ = {name: value for name, value in os.environ.items() if name not in MARKED} | given
    done = subprocess.run([sys.executable, "-c", show], env=environ, stdout=subprocess.PIPE, text=True, check=True)

    assert f"{found}\n" == done.stdout
