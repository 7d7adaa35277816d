"""The arithmetic: what is meant by each figure. Pure functions over what the servers saw; times in seconds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

SETTLING_SECONDS = 1.0  # after the first create, when rates have settled
TAIL = 0.05  # the last creates are left out: when little is left to send, no limit is what holds anybody up
PAID = frozenset({"starting", "processing", "succeeded"})  # a failed prediction may rightly be paid for again


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A prediction that the provider accepted. `row` is the prompt, which each row has to itself."""

    row: str
    status: str
    created_at: float
    completed_at: float | None


def allowance_used(created_at: Iterable[float], *, creates_per_second: float, burst: int) -> float | None:
    """Creates accepted / (allowed rate * steady time), in the time between the settling and the tail.

    As many creates as a burst has are left out at the beginning, so that it is no merit to begin with one.
    None where there is no limit, or the run is too short to have a steady time.
    """
    times = sorted(created_at)
    if not creates_per_second or len(times) <= burst:
        return None
    begins = max(times[0] + SETTLING_SECONDS, times[burst])
    ends = times[math.ceil(len(times) * (1 - TAIL)) - 1]
    steady = sum(begins < at <= ends for at in times)
    return steady / (creates_per_second * (ends - begins)) if ends > begins else None


def safe_per_create_allowed(
    images: int, created_at: Sequence[float], *, creates_per_second: float, burst: int
) -> float | None:
    """Images safe in the bucket for each create that the limit had room for, from the first create to the last.

    The burst is room, too: so nobody exceeds 1, and who never bursts stays a little below it in a short run.
    """
    if not creates_per_second or len(created_at) < 2:
        return None
    return images / (creates_per_second * (max(created_at) - min(created_at)) + burst)


def paid_twice(made: Iterable[Made]) -> int:
    """Predictions beyond the first of a row, those that failed at the provider left out."""
    rows = Counter(one.row for one in made if one.status in PAID)
    return sum(count - 1 for count in rows.values())


def latencies(made: Iterable[Made], arrivals: Mapping[str, float]) -> list[float]:
    """From the end at the provider to the image's arrival in the bucket, a row each."""
    return [arrived - ended for ended, arrived in copied(made, arrivals)]


def copied(made: Iterable[Made], arrivals: Mapping[str, float]) -> list[tuple[float, float]]:
    """When each row's prediction ended, and when its image arrived in the bucket.

    Of several predictions of a row, the one that ended last before the arrival is the one that was copied.
    """
    ended: dict[str, list[float]] = {}
    for one in made:
        arrived = arrivals.get(one.row)
        if one.status == "succeeded" and one.completed_at is not None and arrived is not None:
            ended.setdefault(one.row, []).append(one.completed_at)
    before = {row: [at for at in times if at <= arrivals[row]] for row, times in ended.items()}
    return [(max(times), arrivals[row]) for row, times in before.items() if times]


def quantile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that `share` of all do not exceed; None of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def per(total: float, count: int) -> float | None:
    """A share of each; None where there is nobody."""
    return total / count if count else None


def medians(runs: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Of every figure, over the runs that have it."""
    names = dict.fromkeys(name for run in runs for name in run)
    return {name: _median([run.get(name) for run in runs]) for name in names}


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None
