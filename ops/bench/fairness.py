"""Whether small batches live beside huge ones and each gets its share: at S2's rate, as the provider sees it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from statistics import median

from ops.bench.book import Figures
from ops.bench.contestants import CONTESTANTS
from ops.bench.family import Family
from ops.bench.run import Run, alone, write_rows
from ops.bench.scenarios import S2
from ops.bench.servers import Provider
from ops.bench.verbs import Measurement

BESIDE = 100_000  # rows of the large batch, of which few are ever sent
NEWCOMERS = 5  # batches of one row, one after another
LOOK_SECONDS, PATIENCE_SECONDS = 0.1, 120.0

# Ten batches as (weight, rows). The first one whose rows are all sent ends the measurement: here the first line's.
TEN = (
    *((1, 60), (1, 200), (1, 900), (2, 130), (2, 400)),
    *((2, 1500), (3, 190), (3, 700), (4, 260), (6, 380)),
)
BEGIN_AFTER_SECONDS = 20.0  # all ten are recorded by then, and begin in one moment
SETTLING_SECONDS = 3.0  # of their first creates, before shares are counted


class NewcomerRun(Run):
    """A large batch is under way; batches of one row come, and each is timed to its POST."""

    def measured(self, _: Family, provider: Provider) -> Figures:
        self.bring(self.rows)
        under_way = 2 * S2.creates_per_second + S2.burst
        _wait_until(lambda: provider.stats()["creates_accepted"] >= under_way)
        waits, commands = zip(*(self._newcomer(number, provider) for number in range(NEWCOMERS)), strict=True)
        return {
            "rows_of_the_large_batch": self.scenario.jobs,
            "one_row_command_to_post_median_s": median(waits),
            "one_row_command_to_post_worst_s": max(waits),
            "of_which_the_command_median_s": median(commands),
        }

    def _newcomer(self, number: int, provider: Provider) -> tuple[float, float]:
        """Seconds from the start of its submit command to its create, as the provider noted it; and to its end."""
        word = f"newcomer {number}"
        rows = write_rows(self.folder / f"newcomer-{number}.jsonl", self.scenario, word, 1)
        began = time.time()
        self.bring(rows, "--batch", f"newcomer-{number}")
        took = time.time() - began
        created: list[float] = []

        def is_there() -> bool:
            created.extend(one.created_at for one in provider.made() if one.row.startswith(word))
            return bool(created)

        _wait_until(is_there)
        return created[0] - began, took


class TenRun(Run):
    """Ten batches begin in one moment; who gets how much while all have something to send?"""

    def measured(self, _: Family, provider: Provider) -> Figures:
        at = datetime.fromtimestamp(time.time() + BEGIN_AFTER_SECONDS, UTC).isoformat(timespec="seconds")
        for number, (weight, count) in enumerate(TEN):
            rows = write_rows(self.folder / f"ten-{number}.jsonl", self.scenario, f"ten {number}", count)
            self.bring(rows, "--batch", f"ten-{number}", "--weight", str(weight), "--not-before", at)
        least_weight, fewest = TEN[0]
        total = fewest * sum(weight for weight, _ in TEN) / least_weight
        _wait_until(lambda: provider.stats()["creates_accepted"] >= total)
        created: dict[str, list[float]] = {f"ten {number}": [] for number in range(len(TEN))}
        for one in provider.made():
            created[one.row.rpartition(" ")[0]].append(one.created_at)
        return share_figures(list(created.values()), TEN)


def share_figures(created: Sequence[Sequence[float]], batches: Sequence[tuple[float, int]]) -> Figures:
    """How far each batch's part of the creates is from its weight's, between the settling and the first batch's end."""
    begins = min(min(times) for times in created if times) + SETTLING_SECONDS
    ends = min(
        max(times) if len(times) >= rows else float("inf") for times, (_, rows) in zip(created, batches, strict=True)
    )
    counts = [sum(begins < at < ends for at in times) for times in created]
    total, weights = sum(counts), sum(weight for weight, _ in batches)
    offs = [
        count / total / (weight / weights) - 1 if total else -1.0
        for count, (weight, _) in zip(counts, batches, strict=True)
    ]
    return {"creates_while_all_had_work": total, "largest_deviation_from_weight": max(map(abs, offs))}


def _wait_until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        if time.monotonic() > until:
            raise TimeoutError("the workers do not get on")
        time.sleep(LOOK_SECONDS)


def measure(given: argparse.Namespace) -> Iterator[tuple[str, Figures]]:
    """Both questions to each."""
    for name in given.contestant:
        contestant = CONTESTANTS[name]
        yield name, alone(NewcomerRun, contestant, S2.of(given.beside)) | alone(TenRun, contestant, S2.of(0))


def _options(parser: argparse.ArgumentParser) -> None:
    ours = [name for name, contestant in CONTESTANTS.items() if contestant.is_ours]
    parser.add_argument("--contestant", nargs="+", choices=ours, default=["imagejobs-sqlite-2"])
    parser.add_argument("--beside", type=int, default=BESIDE, help="rows of the large batch (default: %(default)s)")


MEASUREMENT = Measurement(
    name="fairness",
    help="a batch of one row beside a large one, and ten batches of unlike size and weight",
    title="Beside each other: a batch of one row and a large one; ten of unlike size and weight",
    measure=measure,
    options=_options,
)
