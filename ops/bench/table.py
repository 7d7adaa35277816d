"""The verb `table`: S1 to S4, who needs what for an image."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ops.bench.contestants import CONTESTANTS, MAIN, Contestant
from ops.bench.scenarios import SCENARIOS
from ops.bench.tournament import Programme, play

QUICK = {"S1": 300, "S2": 400}  # rows that make three rounds of the main contestants fit into ten minutes
MINUTE = 60.0
FULL_MINUTES = 24 * 60.0


def options(parser: argparse.ArgumentParser) -> None:
    """Of the command line."""
    parser.add_argument("--full", action="store_true", help="every scenario and contestant, at full size")
    parser.add_argument("--scenario", nargs="+", choices=SCENARIOS, help="only these")
    parser.add_argument("--contestant", nargs="+", choices=CONTESTANTS, help="only these")
    parser.add_argument("--jobs", type=int, help="rows of each scenario")
    parser.add_argument("--rounds", type=int, default=3, help="medians are over so many (default: %(default)s)")
    parser.add_argument("--minutes", type=float, help="begin no run that would not fit (default: 10, full: a day)")


def run(given: argparse.Namespace, results: Path) -> None:
    """Play what the options mean; what was measured of the same before is replaced."""
    play(programme_of(given), results)


def programme_of(given: argparse.Namespace) -> Programme:
    """What the options mean."""
    names = given.scenario or (SCENARIOS if given.full else QUICK)
    scenarios = [SCENARIOS[name].of(given.jobs or (None if given.full else QUICK.get(name))) for name in names]
    chosen: Sequence[str] = given.contestant or (tuple(CONTESTANTS) if given.full else MAIN)
    contestants: list[Contestant] = [CONTESTANTS[name] for name in chosen]
    minutes = given.minutes or (FULL_MINUTES if given.full else 10.0)
    return Programme(scenarios=scenarios, contestants=contestants, rounds=given.rounds, seconds=minutes * MINUTE)
