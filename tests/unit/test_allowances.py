"""What replies let slip of the allowance."""

from __future__ import annotations

import pytest

from imagejobs.edges.allowances import Overheard, overheard
from sandbox.limits import Bucket


@pytest.mark.parametrize(
    ("headers", "shown"),
    [
        ({"ratelimit-remaining": "599", "ratelimit-reset": "1"}, 599.0),  # as recorded
        ({"ratelimit-remaining": "590"}, 590.0),
        ({"ratelimit-remaining": "590", "ratelimit-reset": "soon"}, 590.0),
        ({"ratelimit-remaining": "599", "ratelimit-reset": "60"}, 599.0),  # may as well be the end of a window
        ({"ratelimit-remaining": "many"}, None),
        ({}, None),
    ],
)
def test_headers_show_how_much_is_allowed_at_least(headers, shown):
    """What is left, and what comes back until it is whole again; without them, nothing."""
    assert Overheard(shown=shown) == overheard(201, headers, b"{}")


@pytest.mark.parametrize(("per_minute", "burst"), [(600, 10), (300, 10), (6, 1), (6000, 100), (3000, 10)])
def test_headers_never_show_more_than_is_allowed(per_minute, burst):
    """Whether the bucket is full or nearly empty; and the whole of it, but for a fiftieth, when it is full."""
    bucket = Bucket(per_minute, burst)
    seen = []
    for _ in range(burst):
        verdict = bucket.take(1000.0)
        headers = {"ratelimit-remaining": str(verdict.remaining), "ratelimit-reset": str(verdict.reset_seconds)}
        seen.append(overheard(201, headers, b"").shown or 0.0)

    assert max(seen) <= per_minute
    assert seen[0] >= per_minute * 0.98


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (429, b'{"detail": "Your rate limit is 6 requests per minute with a burst of 1. It resets in ~5s."}', 6.0),
        (429, b'{"detail": "reduced to 6 requests per minute with a burst of 1 ... resets in ~5s."}', 6.0),
        (429, b"10 requests/second", 600.0),
        (429, b'{"detail": "Request was throttled. Expected available in 1 second."}', None),
        (429, b"0 requests per minute", None),
        (429, b"\xff", None),
        (201, b'{"input": {"prompt": "6 requests per minute"}}', None),
    ],
)
def test_a_429_may_name_the_limit(status, body, told):
    """Only a 429: a prompt may say anything."""
    assert Overheard(told=told) == overheard(status, {}, body)
