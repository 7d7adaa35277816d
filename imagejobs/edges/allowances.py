"""What a reply lets slip of the account's allowance: the headers of its rate limit, and a 429's own words. Pure.

`ratelimit-remaining: 599` and `ratelimit-reset: 1` were recorded after one create of 600 a minute
(github.com/replicate/replicate-python tests/cassettes): what is left counts down from a minute's allowance, and the
reset is how long it takes to be whole again. Proxies show neither.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from imagejobs.edges.fields import amount

LONGEST_RESET_SECONDS = 30.0
"""With more than that missing, the reset (in whole seconds) says too little; nor is it then sure that it means this."""

_BEGINNING = 4096  # bytes: an objection is a few words
_RATE = re.compile(r"\b(\d{1,6}(?:\.\d+)?)\s+requests?\s*(?:per|a|/)\s*(second|minute)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overheard:
    """Calls a minute: `shown` by headers, so many at least; `told` by a 429's words, the limit. None: nothing said."""

    shown: float | None = None
    told: float | None = None


def overheard(status: int, headers: Mapping[str, str], body: bytes) -> Overheard:
    """What this reply lets slip."""
    return Overheard(shown=_shown(headers), told=_told(body) if status == 429 else None)


def _shown(headers: Mapping[str, str]) -> float | None:
    remaining, reset = amount(headers.get("ratelimit-remaining")), amount(headers.get("ratelimit-reset"))
    if remaining is None or reset is None or not 1 <= reset <= LONGEST_RESET_SECONDS:
        return remaining
    return remaining * 60 / (61 - reset)  # the reset is rounded up, so this is never too much


def _told(body: bytes) -> float | None:
    """As in "Your rate limit is 6 requests per minute with a burst of 1"."""
    if not (found := _RATE.search(body[:_BEGINNING].decode("utf-8", "replace"))):
        return None
    return float(found[1]) * (60 if found[2].lower() == "second" else 1) or None
