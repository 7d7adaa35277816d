"""One limiter for the whole fleet, per account, in Redis: places in time, reserved evenly spaced, never a burst.

A 429 closes the bucket for as long as the provider says, and teaches what it really allows: by its own words, else by
what was accepted since the 429 before it. What the headers of later replies show lifts the rate again at once; where
there are none, it climbs by itself until the next 429 (docs/decisions/0018). The setting is the ceiling. Creates and
other calls have a bucket each, as at the provider (https://replicate.com/docs/topics/predictions/rate-limits).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

ASSUMED_PER_SECOND = 50.0  # where the allowance is said to be unlimited and a 429 says otherwise
UNSAID_SECONDS = 2.0  # how long to close when a 429 names no wait
WORTH_A_CALL = 1.1  # a tenth more than is used: not to be kept until somebody asks for places
FADING_SECONDS = 10.0  # as in limiter.lua: what is older says nothing of now
CATCH_UP_SECONDS = 0.4  # of creates that nobody was there to send in time; a provider takes about a second's at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """`places` calls may be made: the first after `after_seconds`, then one each `spacing_seconds`.

    No places: `after_seconds` says when asking again makes sense, early enough to be in time for the next one.
    """

    places: int
    after_seconds: float
    spacing_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How the bucket stands, for people. `allowed` is what was set, `learnt` the less that 429s have taught, a minute.

    `unused_seconds`: for how long places have gone by that nobody reserved; None when nobody ever has, or there is no
    limit. `unasked_seconds`: since any were. `ledger_waits`: how many threads waited for the ledger at a time, of late.
    """

    allowed: float
    learnt: float | None = None
    closed_seconds: float = 0.0
    unused_seconds: float | None = None
    unasked_seconds: float | None = None
    ledger_waits: float = 0.0


class Limiter:
    """The allowance of one kind of call. Raises redis.RedisError when Redis is away: then nothing is allowed."""

    def __init__(self, client: redis.Redis, key: str, *, per_minute: float, catch_up_seconds: float = 0.0) -> None:
        self._client = client
        self._key = key
        self._per_second = per_minute / 60
        self._catch_up_seconds = catch_up_seconds
        self._reserve = client.register_script(_script("limiter.lua"))
        self._throttled = client.register_script(_script("throttled.lua"))
        # What this process last heard, a second. Threads may overwrite each other's: they hear of the same account.
        self._learnt: float | None = None
        self._shown: float | None = None
        self._told: float | None = None
        self._waited_seconds = 0.0

    def reserve(self, places: int, *, ahead_seconds: float) -> Grant:
        """Reserve up to `places` places that lie within `ahead_seconds` from now."""
        shown, self._shown = self._shown, None
        waited, self._waited_seconds = self._waited_seconds, 0.0
        rates = [self._per_second, ASSUMED_PER_SECOND, self._catch_up_seconds, shown or ""]
        args = [places, ahead_seconds, *rates, waited]
        granted, after, spacing, is_learnt = self._reserve(keys=[self._key], args=args)
        grant = Grant(places=int(granted), after_seconds=float(after), spacing_seconds=float(spacing))
        if is_learnt == "0":
            self._learnt = None
        elif grant.places:
            self._learnt = 1 / grant.spacing_seconds
        return grant

    def hear(self, *, shown: float | None = None, told: float | None = None) -> None:
        """What a reply says of the allowance, a minute: `shown` at least, by its headers; `told`, by a 429's words.

        Costs nothing, unless the fleet goes slower than it might. Never raises: the reply itself matters more.
        """
        if told is not None:
            self._told = told / 60
        if shown is not None and self._learnt is not None:
            self._shown = shown / 60
            if self._shown > WORTH_A_CALL * self._learnt:  # less than that comes along with the next reservation
                with suppress(redis.RedisError):
                    self.reserve(0, ahead_seconds=0.0)

    def waited(self, seconds: float) -> None:
        """This worker has waited so long for the ledger; told to people along with the next reservation."""
        self._waited_seconds += seconds

    def per_minute(self) -> float:
        """The allowance in force: what was set while running, else the setting; less what 429s have taught."""
        override, learnt = self._client.hmget(self._key, ["override", "learnt"])
        rates = [float(value) for value in (override, learnt) if value is not None]
        full = rates[0] if override is not None else self._per_second
        return 60 * (min(rates) if learnt is not None and full > 0 else full)

    def standing(self) -> Standing:
        """One round trip, and nothing is changed."""
        names = ("override", "learnt", "closed_until", "free_at", "asked_at", "waited", "waited_at")
        pipe = self._client.pipeline(transaction=False)
        pipe.time()
        pipe.hmget(self._key, names)
        (seconds, microseconds), values = pipe.execute()
        now = seconds + microseconds / 1e6
        has = {name: float(value) for name, value in zip(names, values, strict=True) if value is not None}
        allowed = 60 * has.get("override", self._per_second)
        fading = max(0.0, 1 - (now - has.get("waited_at", 0.0)) / FADING_SECONDS)
        return Standing(
            allowed=allowed,
            learnt=60 * has["learnt"] if "learnt" in has else None,
            closed_seconds=max(0.0, has.get("closed_until", 0.0) - now),
            unused_seconds=max(0.0, now - has["free_at"]) if "free_at" in has and allowed else None,
            unasked_seconds=max(0.0, now - has["asked_at"]) if "asked_at" in has else None,
            ledger_waits=has.get("waited", 0.0) * fading / FADING_SECONDS,
        )

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
        told, self._told = self._told, None
        with suppress(redis.RedisError):
            args = [seconds, self._per_second, ASSUMED_PER_SECOND, told or ""]
            self._learnt = float(self._throttled(keys=[self._key], args=args))
        return seconds

    def give_back(self, grant: Grant, places: int) -> None:
        """Places that were reserved and will not be used, if nobody has reserved behind them for good. Never raises."""
        if places and grant.spacing_seconds:
            back = -places * grant.spacing_seconds
            pipe = self._client.pipeline(transaction=False)
            for name, change in (("free_at", back), ("ideal_at", back), ("taken", -places)):
                pipe.hincrbyfloat(self._key, name, change)
            with suppress(redis.RedisError):  # then they go by unused: a moment's pause
                pipe.execute()


def _script(name: str) -> str:
    return files("imagejobs").joinpath(name).read_text(encoding="utf-8")


def look(redis_url: str, key: str, *, per_minute: float, within_seconds: float) -> Standing | None:
    """How a bucket stands, for a command that must not hang: None where Redis does not answer in time."""
    try:
        with redis.Redis.from_url(
            redis_url,
            socket_connect_timeout=within_seconds,
            socket_timeout=within_seconds,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        ) as client:
            return Limiter(client, key, per_minute=per_minute).standing()
    except redis.RedisError:
        return None
