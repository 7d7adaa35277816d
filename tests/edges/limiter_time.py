"""What tests of the limiter share."""

from __future__ import annotations

import redis


def passes(client: redis.Redis, seconds: float) -> None:
    """So much time, as the limiter sees it: all that it remembers is longer ago."""
    for name, value in client.hgetall("creates").items():
        if name.endswith(("_at", "_until")):
            client.hset("creates", name, str(float(value) - seconds))
