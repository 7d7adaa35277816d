"""One limiter for the whole fleet, per account, in Redis: places in time, reserved evenly spaced, never a burst.

A 429 that comes all the same closes the bucket for as long as the provider says and cuts the rate (at most once in two
seconds, however many 429s one burst brings); the rate then climbs back by itself. Creates and other calls have a
bucket each, as at the provider (https://replicate.com/docs/topics/predictions/rate-limits).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files

import redis

ASSUMED_PER_SECOND = 50.0  # where the allowance is said to be unlimited and a 429 says otherwise
UNSAID_SECONDS = 2.0  # how long to close when a 429 names no wait


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """`places` calls may be made: the first after `after_seconds`, then one each `spacing_seconds`.

    No places: `after_seconds` says when asking again makes sense.
    """

    places: int
    after_seconds: float
    spacing_seconds: float


class Limiter:
    """The allowance of one kind of call. Raises redis.RedisError when Redis is away: then nothing is allowed."""

    def __init__(self, client: redis.Redis, key: str, *, per_minute: float) -> None:
        self._client = client
        self._key = key
        self._per_second = per_minute / 60
        self._reserve = client.register_script(_script("limiter.lua"))
        self._throttled = client.register_script(_script("throttled.lua"))

    def reserve(self, places: int, *, ahead_seconds: float) -> Grant:
        """Reserve up to `places` places that lie within `ahead_seconds` from now."""
        args = [places, ahead_seconds, self._per_second, ASSUMED_PER_SECOND]
        granted, after, spacing = self._reserve(keys=[self._key], args=args)
        return Grant(places=int(granted), after_seconds=float(after), spacing_seconds=float(spacing))

    def per_minute(self) -> float:
        """The allowance in force: what was set while running, else the setting; less what 429s have taught."""
        override, learnt = self._client.hmget(self._key, ["override", "learnt"])
        rates = [float(value) for value in (override, learnt) if value is not None]
        full = rates[0] if override is not None else self._per_second
        return 60 * (min(rates) if learnt is not None and full > 0 else full)

    def booked_seconds(self) -> float:
        """How far ahead places have been reserved, or the bucket is closed."""
        pipe = self._client.pipeline(transaction=False)
        pipe.time()
        pipe.hmget(self._key, ["free_at", "closed_until"])
        (seconds, microseconds), until = pipe.execute()
        ahead = (float(moment or 0) - seconds - microseconds / 1e6 for moment in until)
        return float(max(0.0, *ahead))

    def allow(self, *, per_minute: float | None) -> None:
        """Change the allowance of a running fleet; None: back to the setting."""
        if per_minute is None:
            self._client.hdel(self._key, "override")
        else:
            self._client.hset(self._key, "override", str(per_minute / 60))

    def throttled(self, after_seconds: float | None) -> float:
        """Tell the fleet of a 429. Returns for how many seconds the bucket is closed.

        Never raises: what the 429 says of its own call must not be lost with it, and while Redis is away nobody calls.
        """
        seconds = UNSAID_SECONDS if after_seconds is None else after_seconds
        with suppress(redis.RedisError):
            self._throttled(keys=[self._key], args=[seconds, self._per_second, ASSUMED_PER_SECOND])
        return seconds

    def give_back(self, grant: Grant, places: int) -> None:
        """Places that were reserved and will not be used, if nobody has reserved behind them for good. Never raises."""
        if places and grant.spacing_seconds:
            with suppress(redis.RedisError):  # then they go by unused: a moment's pause
                self._client.hincrbyfloat(self._key, "free_at", -places * grant.spacing_seconds)


def _script(name: str) -> str:
    return files("imagejobs").joinpath(name).read_text(encoding="utf-8")
