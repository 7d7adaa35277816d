"""The simulation itself: it is one run a seed, it holds, and it notices when a rule is taken out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from itertools import islice

import pytest

from tests.simulation.mutations import MUTATIONS, ROOT, run_mutated
from tests.simulation.pair import Plan, every_crash, every_freeze, every_pair, explore
from tests.simulation.run import simulate

SEEDS = range(1, 21)  # always the same; `make check` and `make sim` run others
ENOUGH_SEEDS = 400  # a mutation shows long before


@pytest.mark.parametrize("seed", SEEDS)
def test_every_invariant_holds_after_every_step(seed: int):
    """And once the troubles are over, every job ends, every create is accounted for, every image is in the store."""
    result = simulate(seed)

    assert (None, ()) == (result.red, result.trace)


def test_a_crash_anywhere_costs_nothing():
    """One worker of two dies at each door that it passes with one job, with the reply to its create lost or not."""
    assert [] == broken(every_crash())


def test_a_freeze_anywhere_costs_nothing():
    """One worker sleeps at a door, and the other goes on alone. A part of them; `make sim EXPLORE=1` tries all."""
    assert [] == broken(islice(every_freeze(), None, None, 11))


def test_a_crash_after_a_freeze_costs_nothing():
    """A small part of all pairs of places."""
    assert [] == broken(islice(every_pair(stride=211), 60))


def test_a_copy_that_slept_over_its_hour_does_not_write_over_the_next_one():
    """Meanwhile the output expired, and the job was generated again, and stored: by the second worker."""
    result, _ = explore(Plan(freeze_on="fetched", freeze_seconds=300.0, is_gone=True))

    assert (None, 2) == (result.red, result.accepted)


def broken(plans: Iterable[Plan]) -> list[tuple[Plan, str | None]]:
    """Those of the plans that break an invariant, and which."""
    results = [(plan, explore(plan)[0].red) for plan in plans]
    assert results
    return [(plan, red) for plan, red in results if red]


def test_one_seed_is_one_run():
    """In another process with another order of its sets, too."""
    shown = set()
    for hash_seed in ("1", "2"):
        command = [sys.executable, "-m", "tests.simulation", "--seeds", "4", "--first", "7", "--digests"]
        environ = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=300, check=True)
        shown.add(tuple(line for line in done.stdout.splitlines() if line.startswith("seed ")))

    assert 1 == len(shown)
    assert 4 == len(shown.pop())


@pytest.mark.parametrize("rule", MUTATIONS)
def test_without_this_rule_it_goes_red(rule: str, tmp_path):
    """Each rule is there for a reason, which some seed finds."""
    mutation = MUTATIONS[rule]
    done = run_mutated(mutation, tmp_path, seeds=ENOUGH_SEEDS)

    assert (1, True) == (done.returncode, mutation.symptom in done.stdout), done.stdout[-2000:] + done.stderr[-2000:]
