"""The allowance of a running fleet: what the limiter goes by, and how it is changed without a restart."""

from __future__ import annotations

from collections.abc import Mapping

from imagejobs.limiter import Limiter
from imagejobs.queues import Broker
from imagejobs.settings import Settings


def limiters(broker: Broker, settings: Settings) -> dict[str, Limiter]:
    """The two buckets of the account, by name."""
    allowed = {"creates": settings.creates_per_minute, "calls": settings.calls_per_minute}
    return {name: Limiter(broker.redis, broker.prefix + name, per_minute=rate) for name, rate in allowed.items()}


def change(broker: Broker, settings: Settings, wanted: Mapping[str, float | None]) -> dict[str, float]:
    """Set what is wanted (None: back to the setting), for every worker at once. Returns what is in force, a minute."""
    buckets = limiters(broker, settings)
    for name, per_minute in wanted.items():
        buckets[name].allow(per_minute=per_minute)
    return {name: round(bucket.per_minute(), 1) for name, bucket in buckets.items()}
