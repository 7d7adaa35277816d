"""Processes whose machine's wall clock is off, by Debian's libfaketime; their steady clocks go on as they are."""

from __future__ import annotations

from pathlib import Path

from tests.servers.requirement import give_up

_LIBRARIES = Path("/usr/lib")
_SITE = Path(__file__).with_name("off_clock")


def ahead(seconds: int) -> dict[str, str]:
    """The variables that put a Python process's wall clock that far ahead (or behind, below zero)."""
    library = next(_LIBRARIES.glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        give_up(["faketime"])
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME": f"{seconds:+d}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "PYTHONPATH": str(_SITE),
    }
