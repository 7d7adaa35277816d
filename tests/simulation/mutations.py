"""Rules of the product taken out, one at a time: the simulation must notice each.

A mutation is a change of the source, applied to a copy of the packages that a process of its own then runs.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[2]
COPIED = ("imagejobs", "worker", "producer", "tests/simulation", "tests/ledger_books.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """What is written in `file` instead of `rule`; `symptom` is part of what the simulation then says."""

    file: str
    rule: str
    instead: str
    symptom: str


MUTATIONS = {
    "the intent is committed before the POST": Mutation(
        file="imagejobs/ledger/transitions.py",
        rule="            return _load(connection, [job.id for job in claimed])\n\n    def claim_copies",
        instead=(
            "            found = _load(connection, [job.id for job in claimed])\n"
            "            connection.rollback()\n"
            "            return found\n\n    def claim_copies"
        ),
        symptom="without a committed intent",
    ),
    "a claim compares before it sets": Mutation(
        file="imagejobs/ledger/transitions.py",
        rule="            jobs.c.state == state,\n            jobs.c.hinted == 1,\n",
        instead="",
        symptom="",
    ),
    "an unknown outcome is looked up": Mutation(
        file="worker/submitter.py",
        rule="            outcome = guarded(send, otherwise=lambda error: Unknown(error=error))\n",
        instead=(
            "            outcome = guarded(send, otherwise=lambda error: Unknown(error=error))\n"
            "            if isinstance(outcome, Unknown):\n"
            "                from worker.outcomes import Absent\n\n"
            "                outcome = Absent(error=outcome.error, is_proven=True)\n"
        ),
        symptom="nobody knows of it any more",
    ),
    "what can still be copied is not generated again": Mutation(
        file="worker/stages/store.py",
        rule=(
            "            if error.cause is Cause.DOWNLOAD and self._is_over(job):\n"
            "                return self._undelivered(job, str(error), come)\n"
        ),
        instead="            if error.cause is Cause.DOWNLOAD:\n                return self._expired(str(error))\n",
        symptom="can still be fetched",
    ),
    "a stale claim is not sent": Mutation(
        file="worker/stages/submit.py",
        rule="    if clock.monotonic() - claimed_at > POST_WITHIN_SECONDS:\n",
        instead="    if False:\n",
        symptom="after its committed intent",
    ),
    "a list is asked only once it has settled": Mutation(
        file="worker/settle.py",
        rule="            look_at = now + policy.settle_seconds\n",
        instead="            look_at = now\n",
        symptom="nobody knows of it any more",
    ),
    "orphans are searched for": Mutation(
        file="worker/strays.py",
        rule="            if jobs and prediction.id not in known and not _match(unsettled, prediction):\n",
        instead="            if False:\n",
        symptom="unknown [('p",
    ),
    "a copy's move is guarded by its attempt": Mutation(
        file="imagejobs/ledger/transitions.py",
        rule="        if self.standing.get(move.job_id) != starts_at:\n",
        instead="        if move.job_id not in self.standing:\n",
        symptom="",
    ),
}


def run_mutated(mutation: Mutation, folder: Path, *, seeds: int) -> subprocess.CompletedProcess[str]:
    """Run that many seeds, or up to the first that breaks, on a copy of the packages without the rule."""
    for path in COPIED:
        copy = partial(shutil.copytree, ignore=shutil.ignore_patterns("__pycache__"))
        (copy if (ROOT / path).is_dir() else shutil.copy)(ROOT / path, folder / path)
    file = folder / mutation.file
    source = file.read_text(encoding="utf-8")
    assert source.count(mutation.rule) == 1, f"{mutation.file} no longer has the rule as it is written here"
    file.write_text(source.replace(mutation.rule, mutation.instead), encoding="utf-8")
    command = [sys.executable, "-m", "tests.simulation", "--seeds", str(seeds), "--at", str(folder)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
