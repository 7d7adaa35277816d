"""The provider changes its mind in mid-run: how much of what it then allows is used, and how many 429s that costs."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ops.bench.book import Figures
from ops.bench.contestants import CONTESTANTS, environ_of, filled
from ops.bench.family import Family
from ops.bench.million import timed
from ops.bench.run import write_rows
from ops.bench.scenarios import S4
from ops.bench.servers import Provider, Servers
from ops.bench.verbs import Measurement

ROWS = 2500  # more than any of the runs can send
FLOWING_CREATES = 60  # before anything is changed: six seconds of them
GRACE_SECONDS = 10.0
STORM = [{"on": "create", "kind": "status", "status": 429, "rate": 0.5}]
WORKERS = CONTESTANTS["imagejobs-sqlite-2"]
STARTS_WITHIN_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What the provider does, and how long it is watched. A `storm` lasts a while, and the limits stay."""

    name: str
    per_minute: float
    seconds: float
    storm_seconds: float = 0.0
    limits: Mapping[str, float] = field(default_factory=dict)


# In one run, one after the other; the setting stays at 600 a minute all the while.
CHANGES = (
    Change(name="after 15 s of 429s to every second create", per_minute=600, seconds=60, storm_seconds=15),
    Change(name="lowered to half", per_minute=300, seconds=60, limits={"creates_per_minute": 300}),
    Change(name="raised back", per_minute=600, seconds=60, limits={"creates_per_minute": 600}),
    Change(name="starved: burst 1", per_minute=6, seconds=130, limits={"creates_per_minute": 6, "burst": 1}),
    Change(name="released", per_minute=600, seconds=60, limits={"creates_per_minute": 600, "burst": 10}),
)


def measure(given: argparse.Namespace) -> Iterator[tuple[str, Figures]]:
    """Two workers on SQLite at a real account's limits, with runs of a second."""
    scenario = replace(S4, run_seconds=1.0)
    with (
        tempfile.TemporaryDirectory(prefix="imagejobs-changes-") as name,
        Servers(Path(name, "servers")) as servers,
        Provider(Path(name, "sandbox"), scenario) as provider,
    ):
        folder = Path(name)
        environ = environ_of(WORKERS, scenario, {**servers.environ(provider), "IMAGEJOBS_HOME": str(folder)})
        rows = write_rows(folder / "rows.jsonl", scenario, "picture", ROWS)
        timed(filled(WORKERS.enqueue, scenario, rows), environ=environ, folder=folder)
        with Family(folder=folder, environ=environ) as family:
            family.start(WORKERS.commands(scenario, rows))
            _flowing(provider)
            for change in CHANGES[: given.changes]:
                yield change.name, _after(change, provider)


def _flowing(provider: Provider) -> None:
    until = time.monotonic() + STARTS_WITHIN_SECONDS
    while provider.stats()["creates_accepted"] < FLOWING_CREATES:
        if time.monotonic() > until:
            raise TimeoutError("the workers did not begin to send")
        time.sleep(0.2)


def _after(change: Change, provider: Provider) -> Figures:
    """Make the change, wait, and hold what was accepted against what was allowed."""
    if change.storm_seconds:
        provider.faults(STORM)
        time.sleep(change.storm_seconds)
        provider.faults([])
    provider.limits(**change.limits)
    began, refused = time.time(), _refused(provider.stats())
    time.sleep(GRACE_SECONDS)
    refused_soon = _refused(provider.stats())
    time.sleep(change.seconds - GRACE_SECONDS)
    refused_late = _refused(provider.stats())
    created = [one.created_at for one in provider.made()]
    return {
        "allowance_used_from_ten_seconds_on": used(created, began=began, per_second=change.per_minute / 60),
        "creates_allowed_a_minute": change.per_minute,
        "creates_accepted": sum(at >= began for at in created),
        "replies_429_in_the_first_ten_seconds": refused_soon - refused,
        "replies_429_later": refused_late - refused_soon,
    }


def _refused(stats: Mapping[str, Any]) -> int:
    return int(stats["creates_refused"].get("429", 0))


def used(created: Sequence[float], *, began: float, per_second: float) -> float:
    """Creates accepted / (allowed rate * time) from ten seconds after the change.

    The time runs from one create to another, since a slow account has few: from the last one within the grace, or its
    end when there was none, to the last of all. A fleet that stands still afterwards is not excused by that.
    """
    grace = began + GRACE_SECONDS
    begins = max((at for at in created if began <= at <= grace), default=grace)
    later = [at for at in created if at > begins]
    return len(later) / (per_second * (max(later) - begins)) if later else 0.0


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--changes", type=int, default=len(CHANGES), help="the first so many (default: all)")


MEASUREMENT = Measurement(
    name="changes",
    help="the provider's limits change in mid-run",
    title="Limits that change in mid-run",
    measure=measure,
    options=_options,
)
