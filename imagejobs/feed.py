"""How the submit queue is kept short and fair: pure arithmetic over the batches that have something to send."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

AHEAD_SECONDS = 1.0  # how much of the allowance is sent for ahead: it bridges a feed turn, and newcomers wait no longer
SLOW_AHEAD_SECONDS = 2.5  # the same for one job, where an allowance of a few a minute would be missed between two turns
MOST_AHEAD = 500  # without a limit: what a few workers claim between two turns
MESSAGE_SECONDS = 0.15  # of the allowance in one message: its jobs are claimed, and lost with a process, together
MOST_IN_MESSAGE = 16  # … whatever the allowance: what a killed process had claimed is looked up
MOST_UNPACED = 32  # without a limit: of these, a process claims no more at a time than its threads send soon
EASY_LAG_SECONDS, WORST_LAG_SECONDS = 120.0, 420.0  # copying this far behind: slow down; stop submitting
STUCK_OUTPUTS = 20  # so many that cannot be had hold nobody up: they are not a backlog
CREDIT = 200.0  # places that a batch which was held back may catch up, and no more


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A batch with queued jobs: `served` is how many places it has had, over its weight."""

    batch_id: int
    weight: float
    priority: int
    served: float


def places_ahead(creates_per_minute: float, *, booked_seconds: float) -> int:
    """How many jobs may be on the submit queue, unclaimed, at once (0 a minute: unlimited).

    `booked_seconds` is how much of the time ahead has been given to claimed jobs that wait for their turn to be sent.
    Whoever was sent for beyond that would only be given back.
    """
    if creates_per_minute == 0:
        return MOST_AHEAD
    places = ceil(creates_per_minute / 60 * (AHEAD_SECONDS - booked_seconds))
    return min(MOST_AHEAD, max(int(booked_seconds < SLOW_AHEAD_SECONDS), places))


def specs_per_message(creates_per_minute: float) -> int:
    """How many jobs one message names."""
    if creates_per_minute == 0:
        return MOST_UNPACED
    return min(MOST_IN_MESSAGE, ceil(creates_per_minute / 60 * MESSAGE_SECONDS))


def level(contenders: Sequence[Contender]) -> list[Contender]:
    """The same batches, with those that were long held back brought to within CREDIT of the most served one of their
    priority: what they missed while they were paused or had nothing to send is not made up for at the others' cost.
    """
    most: dict[int, float] = {}
    for batch in contenders:
        most[batch.priority] = max(batch.served, most.get(batch.priority, batch.served))
    return [replace(batch, served=max(batch.served, most[batch.priority] - CREDIT)) for batch in contenders]


def share(contenders: Sequence[Contender], places: int) -> dict[int, int]:
    """How many places each batch gets: the highest priority first, within it by weight (start-time fair queueing)."""
    if not contenders or places <= 0:
        return {}
    top = max(batch.priority for batch in contenders)
    clock = [(batch.served, batch.batch_id, batch.weight) for batch in contenders if batch.priority == top]
    heapq.heapify(clock)
    given: dict[int, int] = {}
    for _ in range(places):
        served, batch_id, weight = clock[0]
        given[batch_id] = given.get(batch_id, 0) + 1
        heapq.heapreplace(clock, (served + 1 / weight, batch_id, weight))
    return given


def interleave(turns: dict[int, list[int]]) -> list[int]:
    """The jobs of several batches in one order, each spread evenly, so that nobody's stand behind all of another's."""
    placed = [
        ((position + 0.5) / len(jobs), batch_id, job)
        for batch_id, jobs in turns.items()
        for position, job in enumerate(jobs)
    ]
    return [job for _, _, job in sorted(placed)]


def copy_lag(nearest_expiry: float | None, keep_seconds: float, now: float) -> float:
    """For how long the first of the outputs that wait to be copied has waited."""
    return 0.0 if nearest_expiry is None else max(0.0, now - (nearest_expiry - keep_seconds))


def ease(nearest_expiry: float | None, keep_seconds: float, now: float) -> float:
    """How much of the allowance to submit with, 1 to 0: it falls as the oldest finished output waits to be copied."""
    lag = copy_lag(nearest_expiry, keep_seconds, now)
    scale = min(1.0, keep_seconds / 3600)  # a provider that keeps outputs for less leaves less time to fall behind
    return min(1.0, max(0.0, 1 - (lag - EASY_LAG_SECONDS * scale) / ((WORST_LAG_SECONDS - EASY_LAG_SECONDS) * scale)))
