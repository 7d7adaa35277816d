"""`python -m tests.simulation`: run seeds, and show the first that breaks an invariant, with its last steps."""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections import Counter
from itertools import chain
from pathlib import Path

import imagejobs
from tests.simulation.pair import every_crash, every_freeze, every_pair, explore
from tests.simulation.run import Result, simulate


def main() -> int:
    """0 when all held, 1 when one did not."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--seconds", type=float, help="stop after so long")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--fresh", action="store_true", help="begin at a seed that nobody has run: the time's")
    parser.add_argument("--seed", type=int, help="this one alone, with its whole trace")
    parser.add_argument("--explore", action="store_true", help="one job and two workers: each crash, freeze and pair")
    parser.add_argument("--keep-going", action="store_true", help="past seeds that break")
    parser.add_argument("--digests", action="store_true", help="show what stands for each run's trace")
    parser.add_argument("--at", type=Path, help="the folder whose packages are meant: refuse to run any other's")
    asked = parser.parse_args()
    if asked.at is not None and not Path(imagejobs.__file__).is_relative_to(asked.at):
        parser.error(f"these are the packages of {Path(imagejobs.__file__).parents[1]}")
    if asked.seed is not None:
        result = simulate(asked.seed, shown=400)
        _show(result)
        return int(result.red is not None)
    if asked.explore:
        return _explore(asked.seconds)
    first = int(time.time()) * 100 if asked.fresh else asked.first
    seeds = range(first, first + (10**9 if asked.seconds else asked.seeds))
    return _run(seeds, asked.seconds, keep_going=asked.keep_going, digests=asked.digests)


def _run(seeds: range, seconds: float | None, *, keep_going: bool, digests: bool) -> int:
    began = time.perf_counter()
    broken, done, steps, accepted, jobs = 0, 0, 0, 0, 0
    hits: Counter[str] = Counter()
    gc.freeze()
    gc.disable()  # a run leaves little behind, and its greenlets must not be collected at odd moments
    for seed in seeds:
        result = simulate(seed)
        if done % 20 == 19:
            gc.collect()
        done, steps, accepted, jobs = done + 1, steps + result.steps, accepted + result.accepted, jobs + result.jobs
        hits.update(result.hits)
        if digests:
            print(f"seed {seed}: {result.digest}")
        if result.red:
            broken += 1
            _show(result)
            if not keep_going:
                break
        if seconds is not None and time.perf_counter() - began > seconds:
            break
    took = time.perf_counter() - began
    print(f"{done} seeds from {seeds.start} on, {broken} broken, in {took:.1f} s ({done / took:.1f} a second)")
    print(
        f"{steps} steps, {jobs} jobs, {accepted} accepted creates; "
        + ", ".join(f"{n} {k}" for k, n in sorted(hits.items()))
    )
    return int(broken > 0)


def _explore(seconds: float | None) -> int:
    began, done, broken = time.perf_counter(), 0, 0
    for plan in chain(every_crash(), every_freeze(), every_pair()):
        result, _ = explore(plan)
        done += 1
        if result.red:
            broken += 1
            print(f"{plan}: {result.red}")
        if seconds is not None and time.perf_counter() - began > seconds:
            break
    print(f"{done} plans, {broken} broken, in {time.perf_counter() - began:.1f} s")
    return int(broken > 0)


def _show(result: Result) -> None:
    for line in result.trace:
        print(line)
    size = f"{result.steps} steps, {result.seconds:.0f} s, trace {result.digest}"
    print(f"seed {result.seed}: {result.red or 'all held'} ({size})")
    if result.red:
        print(f"again: make sim SEED={result.seed}")


if __name__ == "__main__":
    sys.exit(main())
