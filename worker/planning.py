"""When the next sweep makes sense: arithmetic over what the last one saw. Pure; times are seconds since the epoch.

A sweep costs as many calls as the list has pages, however many predictions it finds finished. So it waits until enough
of them will have: as many as keep the calls for each image within the budget, at the rate at which they last ended. It
waits no longer than a second a call, so that who makes few images has each of them soon; and while nothing that runs
can have ended yet, by the run times seen so far, it does not look at all.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from imagejobs.edges.dialects import Prediction
from worker.stages.poll import RECHECK_SECONDS

FEW = 4  # so many that are not seen yet are cheaper looked at singly than by paging on through the list
CALLS_AN_IMAGE = 0.1
CALLS_SHARE = 0.25  # of the allowance of other calls; cancels, look-ups and second looks need some, too
SECONDS_A_CALL = 1.0  # a sweep that will take n calls comes after n seconds at the latest
SHORTEST_SECONDS = 0.25  # without any limit it is the processor's time that a sweep, or a call, costs
SLOWEST_SECONDS = 20.0
KEEP_SHARE = 0.05  # of the time that outputs are kept: the rest of it belongs to their copying
NOTHING = math.inf  # a sweep's rest when nothing is unfinished: until somebody brings work
REMEMBERED = 64  # run times of a version; one that changes (a cold start, and then none) is forgotten as quickly
EARLY = 0.8  # of the shortest run time seen lately: before that nothing is looked for
LATEST_SECONDS = 30.0  # … but later than this it is, whatever was seen: run times change
BLIND_SECONDS = 5.0  # and at least so often: meanwhile somebody may have begun something quicker, or want to cancel


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a sweep has to keep within. `calls_per_minute` is the allowance in force; 0: unlimited."""

    calls_per_minute: float
    keep_seconds: float


class RunTimes:
    """How long predictions take, from their creation to their end, by model version: by what this process has seen."""

    def __init__(self) -> None:
        self._seen: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=REMEMBERED))

    def learn(self, version: str, prediction: Prediction) -> None:
        """Both times are the provider's own. A failure's says nothing: those end when they like."""
        created, completed = prediction.created_at, prediction.completed_at
        if prediction.status == "succeeded" and created is not None and completed is not None:
            self._seen[version].append(max(0.0, completed - created))

    def earliest(self, version: str, *, unseen: float = 0.0) -> float:
        """How old a prediction of this version is before it can be expected to have ended; `unseen` if none did yet."""
        if not self._seen.get(version):
            return unseen
        return min(LATEST_SECONDS, EARLY * min(self._seen[version]))


def next_sweep(*, calls: int, flying: int, ended_at: Iterable[float], soonest_seconds: float, limits: Limits) -> float:
    """Seconds from the end of a sweep of `calls` calls to the next one.

    `flying`: how many predictions run on. `ended_at`: when those ended that it found finished, by the provider's clock.
    `soonest_seconds`: from now until the first of those that run on may have ended.
    """
    calls = max(1, calls)
    rate = ending_rate(sorted(ended_at))
    worth_it = calls / (CALLS_AN_IMAGE * rate) if rate else SLOWEST_SECONDS
    spared = calls * 60 / (limits.calls_per_minute * CALLS_SHARE) if limits.calls_per_minute else 0.0
    # The last few of a batch take a call, however many the sweep took that found all the others.
    to_come = 1 if flying <= FEW else calls
    latest = to_come * (SECONDS_A_CALL if limits.calls_per_minute else SHORTEST_SECONDS)
    planned = max(min(soonest_seconds, BLIND_SECONDS), min(latest, worth_it))
    wait = max(SHORTEST_SECONDS, spared, planned)
    return min(wait, SLOWEST_SECONDS, max(SHORTEST_SECONDS, limits.keep_seconds * KEEP_SHARE))


def next_look(*, age_seconds: float, earliest_seconds: float) -> float:
    """Seconds from a single look at what runs on to the next: the older, the rarer. A cold start of minutes is normal.

    Of a quick model it is soon: when it is twice as old, and a second later at the latest.
    """
    soon = min(1.0, max(SHORTEST_SECONDS, earliest_seconds, age_seconds))
    return min(RECHECK_SECONDS, max(soon, age_seconds * 0.3))


def ending_rate(ended_at: Sequence[float]) -> float:
    """How many a second ended, of those in order; 0 when there are too few to tell."""
    if len(ended_at) < 2:
        return 0.0
    return (len(ended_at) - 1) / max(ended_at[-1] - ended_at[0], SHORTEST_SECONDS)
