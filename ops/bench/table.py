"""The verb `table`: S1 to S4, who needs what for an image."""

from __future__ import annotations

import argparse
from pathlib import Path

from ops.bench.contestants import CONTESTANTS
from ops.bench.scenarios import SCENARIOS, Scenario
from ops.bench.tournament import Programme, play

MAIN = ("imagejobs-sqlite-2", "imagejobs-postgres-2", "asyncio", "taskiq", "celery-prefork")
"""Those of the quick table: the leanest script, the leanest queue, and the queue that ours stands on."""

QUICK = {"S1": (1000, (*MAIN, "arq")), "S2": (700, MAIN)}
"""Rows and contestants whose three rounds fit into ten minutes. In S1 also the best queue that loses nothing in S3."""

MINUTE = 60.0
FULL_MINUTES = 24 * 60.0


def options(parser: argparse.ArgumentParser) -> None:
    """Of the command line."""
    parser.add_argument("--full", action="store_true", help="every scenario and contestant, at full size")
    parser.add_argument("--scenario", nargs="+", choices=SCENARIOS, help="only these")
    parser.add_argument("--contestant", nargs="+", choices=CONTESTANTS, help="only these")
    parser.add_argument("--jobs", type=int, help="rows of each scenario")
    parser.add_argument("--rounds", type=int, default=3, help="medians are over so many (default: %(default)s)")
    parser.add_argument(
        "--minutes", type=float, help="begin no run that would not fit (default: 10 for the quick table)"
    )


def run(given: argparse.Namespace, results: Path) -> None:
    """Play what the options mean; what was measured of the same before is replaced."""
    play(programme_of(given), results)


def programme_of(given: argparse.Namespace) -> Programme:
    """What the options mean."""
    is_quick = not (given.full or given.scenario)
    names = given.scenario or (SCENARIOS if given.full else QUICK)
    events = []
    for name in names:
        jobs, usual = QUICK[name] if is_quick else (None, _usual(SCENARIOS[name]))
        scenario = SCENARIOS[name].of(given.jobs or jobs)
        chosen = given.contestant or usual
        events.append((scenario, [CONTESTANTS[one] for one in chosen]))
    minutes = given.minutes or (10.0 if is_quick else FULL_MINUTES)
    return Programme(events=events, rounds=given.rounds, seconds=minutes * MINUTE)


def _usual(scenario: Scenario) -> tuple[str, ...]:
    return scenario.contestants or tuple(CONTESTANTS)
