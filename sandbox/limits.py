"""Token buckets: how many calls a minute, and how many at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

ROUNDING = 1e-6  # of a token: sums of floating-point times must not refuse a caller that keeps exactly to the rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a call may pass. `remaining` and `reset_seconds` are None without a limit."""

    granted: bool
    wait_seconds: float = 0.0
    remaining: int | None = None
    reset_seconds: int | None = None


class Bucket:
    """Holds `burst` tokens, refilled evenly at `per_minute`; 0 a minute means no limit.

    Recorded answers of the vendor show `ratelimit-remaining: 599` and `ratelimit-reset: 1` after one create of 600 a
    minute. So `remaining` counts down from the minute's allowance though only `burst` can be had at once, and
    `reset` is the time until the bucket is full again.
    """

    def __init__(self, per_minute: float, burst: int, *, early_retry_extends: bool = False) -> None:
        self.configure(per_minute, burst, early_retry_extends=early_retry_extends)
        self._tokens = float(burst)
        self._filled_at = -math.inf

    def configure(self, per_minute: float, burst: int, *, early_retry_extends: bool = False) -> None:
        """Takes effect at the next call. `early_retry_extends`: every refused call starts the wait anew, as users
        report of accounts with little credit."""
        self.per_minute = per_minute
        self.burst = burst
        self.early_retry_extends = early_retry_extends

    def take(self, now_seconds: float) -> Verdict:
        """One token, if there is one. The clock must be monotonic."""
        if not self.per_minute:
            return Verdict(granted=True)
        per_second = self.per_minute / 60
        idle = now_seconds - self._filled_at
        self._tokens = min(float(self.burst), self._tokens + idle * per_second)
        self._filled_at = now_seconds
        granted = self._tokens >= 1 - ROUNDING
        if granted:
            self._tokens -= 1
        elif self.early_retry_extends:
            self._tokens = 0.0
        return Verdict(
            granted=granted,
            wait_seconds=0.0 if granted else (1 - self._tokens) / per_second,
            remaining=max(0, math.floor(self.per_minute - self.burst + self._tokens)),
            reset_seconds=math.ceil((self.burst - self._tokens) / per_second),
        )
