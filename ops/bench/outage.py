"""What a minute without the store costs: how soon all that waited is safe, and whether anything is slower after."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

from ops.bench import measures
from ops.bench.book import Figures
from ops.bench.contestants import CONTESTANTS
from ops.bench.run import Run, alone
from ops.bench.scenarios import S4
from ops.bench.verbs import Measurement

AWAY_SECONDS = 60.0
JOBS = 1500  # at a real account's rate: twenty seconds before, the outage, and more than a minute after
BEGINS_AT_IMAGES = 150
SCENARIO = replace(S4, name="S4-outage", jobs=JOBS, patience_seconds=200.0)


class OutageRun(Run):
    """A run whose store is away for a while, once some images are there."""

    _away_from: float | None = None

    def while_it_waits(self, images: int) -> None:
        if self._away_from is None and images >= BEGINS_AT_IMAGES:
            self.servers.sink.outage(AWAY_SECONDS)
            self._away_from = time.time()

    def further_figures(self, made: list[measures.Made], arrivals: Mapping[str, float], /) -> Figures:
        if self._away_from is None:
            return {}
        return after_figures(made, arrivals, back_at=self._away_from + AWAY_SECONDS)


def after_figures(made: list[measures.Made], arrivals: Mapping[str, float], *, back_at: float) -> Figures:
    """Caught up is when all that had ended before the store was back is in it; the rest is of what ended after that."""
    pairs = measures.copied(made, arrivals)
    waited = [arrived for ended, arrived in pairs if ended <= back_at < arrived]
    caught_up_at = max(waited, default=back_at)
    later = [arrived - ended for ended, arrived in pairs if ended > caught_up_at]
    return {
        "images_that_waited": len(waited),
        "caught_up_after_s": caught_up_at - back_at,
        "afterwards_safe_after_median_s": measures.quantile(later, 0.5),
        "afterwards_safe_after_p99_s": measures.quantile(later, 0.99),
    }


SHOWN = (
    *("images_that_waited", "caught_up_after_s", "afterwards_safe_after_median_s", "afterwards_safe_after_p99_s"),
    *("images", "lost", "paid_twice", "allowance_used", "replies_429"),
)


def measure(given: argparse.Namespace) -> Iterator[tuple[str, Figures]]:
    """One run each."""
    for name in given.contestant:
        figures = alone(OutageRun, CONTESTANTS[name], SCENARIO)
        yield name, {figure: figures.get(figure) for figure in SHOWN}


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--contestant", nargs="+", choices=CONTESTANTS, default=["imagejobs-sqlite-2"])


MEASUREMENT = Measurement(
    name="outage",
    help="a minute without the store, at a real account's limits",
    title="A minute without the store, at a real account's limits",
    measure=measure,
    options=_options,
)
