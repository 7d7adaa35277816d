"""What a worker needed for a moment is the machine's again."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
