"""The benchmarks run: a tiny round of ours and of a peer ends with every image counted, and a page that shows it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ops.bench.book import Book
from ops.bench.contestants import PEERS, ROOT

JOBS = 12
NEEDS_PEERS = pytest.mark.skipif(
    not (PEERS / "python").exists(), reason="the peers are not installed: make .venv-bench"
)


@pytest.mark.parametrize("contestant", ["imagejobs-sqlite-1", pytest.param("arq", marks=NEEDS_PEERS)])
def test_a_tiny_round_is_measured(contestant: str, tmp_path: Path) -> None:
    """By the command that `make bench` uses. The provider and the sink agree on what was made, and that it was once."""
    chosen = ["--scenario", "S1", "--contestant", contestant, "--jobs", str(JOBS), "--rounds", "1"]
    command = [sys.executable, "-m", "ops.bench", "--out", str(tmp_path), "table", *chosen]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)

    book = Book.read(tmp_path / "benchmarks" / "results.json")
    (figures,) = book.rounds("S1", contestant).values()
    counted = ("images", "creates_accepted", "puts_of_images", "lost", "paid_twice", "images_broken")

    assert [JOBS, JOBS, JOBS, 0, 0, 0] == [figures[name] for name in counted]
    assert all((figures[name] or 0) > 0 for name in ("cpu_ms_per_image", "peak_pss_mb", "images_per_second"))
    assert book.contestants[contestant] in (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
