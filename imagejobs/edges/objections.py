"""How the provider says no, or not now: three dialects of error bodies, and the headers of its rate limits. Pure.

problem+json (`title`, `detail`, `invalid_fields`) is Replicate's, as recorded in github.com/replicate/replicate-python
tests/cassettes; `{"error": {message, type, code}}` is the proxies' (github.com/QuantumNous/new-api types/error.go); and
whatever stands in front of either may answer with text that is no JSON at all (replicate-python issue 261).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from imagejobs.edges.fields import MAX_TEXT, amount, excerpt, line, read_http_date, read_json, words

QUOTA_CODES = frozenset(
    {
        "insufficient_user_quota",
        "pre_consume_token_quota_failed",
        "entitlement_daily_limit_exceeded",
        "entitlement_total_limit_exceeded",
        "insufficient_quota",
        "billing_hard_limit_reached",
    }
)
"""A proxy's words for "your money is used up" (new-api types/error.go, OpenAI's error codes). Some say it with a 429:
waiting does not help, so it must not be taken for a rate limit."""


LONGEST_WAIT_SECONDS = 3600.0
"""Asked to wait longer (a daily quota, a broken header), we look again after this: a wait without end ends nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objection:
    """An error reply in the provider's own words. `after_seconds` is how long it asked to wait, None if it did not."""

    text: str
    code: str = ""
    after_seconds: float | None = None

    @property
    def is_quota(self) -> bool:
        """The money is used up, whatever the status code says."""
        return self.code in QUOTA_CODES


def read_objection(body: bytes, headers: Mapping[str, str], *, now: float | None = None) -> Objection:
    """An error reply in any dialect. `now` is for a date in Retry-After that comes without a Date header."""
    value = read_json(body)
    problem = value if isinstance(value, dict) else {}
    inner = problem.get("error")
    error = inner if isinstance(inner, dict) else {"message": inner}
    text = _text(problem, error) or excerpt(body)
    waits = (read_retry_after(headers, now=now), amount(problem.get("retry_after")), _seconds_in(text))
    codes = (error.get("code"), error.get("type"), problem.get("code"))
    return Objection(
        text=text,
        code=next((code for code in map(line, codes) if code), ""),
        after_seconds=next((min(wait, LONGEST_WAIT_SECONDS) for wait in waits if wait is not None), None),
    )


def _text(problem: dict[str, Any], error: dict[str, Any]) -> str:
    told = map(words, (problem.get("title"), problem.get("detail"), error.get("message"), problem.get("message")))
    text = ": ".join(part for part in told if part)
    fields = problem.get("invalid_fields")
    for field in fields if isinstance(fields, list) else []:
        name, fault = (
            (words(field.get("field")), words(field.get("description"))) if isinstance(field, dict) else ("", "")
        )
        if fault and fault not in text:  # the detail usually lists them already
            text += f"; {name}: {fault}"
    return text.removeprefix("; ")[:MAX_TEXT]


def read_retry_after(headers: Mapping[str, str], *, now: float | None = None) -> float | None:
    """Seconds to wait by the Retry-After header, which holds seconds or a date (RFC 9110, 10.2.3).

    A date is measured against the reply's own Date, so a wrong clock here does no harm.
    """
    value = headers.get("Retry-After")
    if (seconds := amount(value)) is not None:
        return min(seconds, LONGEST_WAIT_SECONDS)
    until, sent = read_http_date(value), read_http_date(headers.get("Date")) or now
    if until is None or sent is None:
        return None
    return min(max(0.0, until - sent), LONGEST_WAIT_SECONDS)


_WAIT = re.compile(r"\b(?:in|after)\s+~?(\d{1,6}(?:\.\d+)?)\s*(s|sec|seconds?|m|min|minutes?)\b", re.IGNORECASE)


def _seconds_in(text: str) -> float | None:
    """As in "Expected available in 1 second." and "Your rate limit resets in ~30s."."""
    if not (found := _WAIT.search(text)):
        return None
    return float(found[1]) * (60 if found[2].lower().startswith("m") else 1)
