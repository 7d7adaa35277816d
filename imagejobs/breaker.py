"""The failure-shape breaker: the same fault on many different jobs in a row is not theirs, so the batch pauses.

A model that is gone, a provider that is down, a token without rights: each fails every job alike, and a night of them
would only make a long list. A prompt's own failure (safety, an id of its own in the text) never adds up, and any
success starts the count anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imagejobs.errors import Cause, error_key
from imagejobs.moves import Move
from imagejobs.states import State

TRIP_AFTER = 12  # alike failures in a row; at the real allowance that is a second or two of creates
PERSONAL = frozenset({Cause.SAFETY, Cause.CANCELED, Cause.RATE_LIMITED, Cause.AUTH_BILLING, Cause.UNKNOWN_OUTCOME})

FIRST_PROBE_SECONDS = 15.0  # after a pause, one job is sent to see whether it is over
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

    def _after(self, move: Move) -> Streak:
        if move.target in (State.RUNNING, State.SUCCEEDED) or move.record.get("outcome") == "finished":
            # An accepted create clears a streak of refused ones, a finished one any streak.
            return Streak() if move.target is not State.RUNNING or _is_refusal(self.key) else self
        if move.cause is None or move.cause in PERSONAL:
            return self
        key = f"{_stage(move)}: {error_key(move.error or move.cause)}"
        return Streak(key, self.count + 1 if key == self.key else 1)


def _stage(move: Move) -> str:
    return "create" if move.source is State.SUBMITTING else "prediction"


def _is_refusal(key: str | None) -> bool:
    return key is not None and key.startswith("create: ")


def probe_after(probes: int) -> float:
    """Seconds until the next probe of a paused batch: doubling, capped."""
    return float(min(FIRST_PROBE_SECONDS * 2**probes, LAST_PROBE_SECONDS))
