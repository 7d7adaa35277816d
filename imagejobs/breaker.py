"""The failure-shape breaker: the same fault on many different jobs in a row is not theirs, so the batch pauses.

A model that is gone, a provider that is down, a token without rights: each fails every job alike, and a night of them
would only make a long list, much of it paid. A prompt's own failure (safety, a text of its own) never adds up, and any
job that gets past the place where the others failed starts the count anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imagejobs.errors import Cause, error_key
from imagejobs.moves import Move
from imagejobs.states import State

TRIP_AFTER = 12  # alike failures in a row; at the real allowance that is a second or two of creates
PERSONAL = frozenset({Cause.SAFETY, Cause.CANCELED, Cause.RATE_LIMITED, Cause.AUTH_BILLING, Cause.UNKNOWN_OUTCOME})

FIRST_PROBE_SECONDS = 5.0  # after a pause, one job is sent to see whether it is over
LAST_PROBE_SECONDS = 900.0  # a false refusal may last hours: ask four times an hour, not more


@dataclass(frozen=True, slots=True)
class Streak:
    """How many failures in a row shared `key`."""

    key: str | None = None
    count: int = 0

    @property
    def has_tripped(self) -> bool:
        """Whether this is a fault of the surroundings."""
        return self.count >= TRIP_AFTER

    def after(self, moves: Sequence[Move]) -> Streak:
        """The streak once these moves of one batch were granted, in their order."""
        streak = self
        for move in moves:
            streak = streak._after(move)
        return streak

    @property
    def stage(self) -> str | None:
        """Where the failures happened: create, prediction or copy."""
        return self.key and self.key.partition(": ")[0]

    def _after(self, move: Move) -> Streak:
        if self.stage in _PASSED.get(move.target, ()):
            return Streak()
        if move.cause is None or move.cause in PERSONAL:
            return self
        key = f"{_STAGES.get(move.source, 'create')}: {error_key(move.error or move.cause)}"
        return Streak(key, self.count + 1 if key == self.key else 1)


_STAGES = {State.RUNNING: "prediction", State.STORING: "copy"}
# What a job that got this far disproves: an accepted create says nothing of predictions that fail once they run.
_PASSED = {
    State.RUNNING: ("create",),
    State.STORING: ("create", "prediction"),
    State.SUCCEEDED: ("create", "prediction", "copy"),
}


def is_over(kind: str, moves: Sequence[Move], *, probe_job: int | None, streak: Streak) -> bool:
    """Whether these granted moves prove that what a batch was paused for has passed. A person's pause never does.

    `streak` is the one that tripped. Where creates were refused, only the probe's acceptance counts: other creates may
    have been on their way before the refusal.
    """
    targets = {move.target for move in moves}
    if kind == "storage":
        return State.SUCCEEDED in targets
    if kind == "auth_billing" or (kind == "breaker" and streak.stage in (None, "create")):
        return any(move.job_id == probe_job and move.target in _PASSED for move in moves)
    return kind == "breaker" and any(streak.stage in _PASSED.get(target, ()) for target in targets)


def probe_after(probes: int) -> float:
    """Seconds until the next probe of a paused batch: doubling, capped."""
    return float(min(FIRST_PROBE_SECONDS * 2**probes, LAST_PROBE_SECONDS))
