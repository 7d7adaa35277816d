"""Single fields of somebody else's JSON, believed only as far as their type goes. Whatever is unusable is None."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

MAX_TEXT = 500
"""Characters of the provider's own words that are kept: enough to understand, short enough for a table."""


def read_json(body: bytes) -> Any:
    """The body's JSON value; None when it is not JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def amount(value: Any) -> float | None:
    """A finite number that is not negative, also as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number >= 0 else None


def line(value: Any) -> str | None:
    """Text without line breaks, control characters or half characters: what a URL and a database can hold."""
    return value if isinstance(value, str) and value and value.isprintable() else None


def words(value: Any) -> str | None:
    """A person's text on one line, cut to MAX_TEXT, with what cannot be printed left out."""
    if not isinstance(value, str):
        return None
    joined = " ".join(value[: 4 * MAX_TEXT].split())
    return "".join(letter for letter in joined if letter.isprintable())[:MAX_TEXT] or None


def excerpt(body: bytes) -> str:
    """The beginning of a body nobody understands, fit for a log and a table."""
    return words(body[: 4 * MAX_TEXT].decode("utf-8", "replace")) or ""


def read_time(value: Any) -> float | None:
    """Seconds since the epoch from an ISO time (UTC where it names no zone) or a number.

    Replicate writes three to nine digits of a second (recordings in replicate-python tests/cassettes).
    """
    if not isinstance(value, str):
        return amount(value)
    try:
        return _timestamp(datetime.fromisoformat(value))
    except (ValueError, OverflowError):
        return None


def write_time(seconds: float) -> str:
    """An ISO time in UTC, as the list's `created_after` takes it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def read_http_date(value: Any) -> float | None:
    """Seconds since the epoch from a date as HTTP headers write it."""
    try:
        return _timestamp(parsedate_to_datetime(value))
    except (ValueError, TypeError, OverflowError):
        return None


def _timestamp(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
