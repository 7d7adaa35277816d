"""Refusals: what is wrong with a call, and how each dialect says so."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Texts and titles are those recorded from the vendor where one is known; the body of a 404 is not documented.
TITLES = {
    400: "Bad request",
    401: "Unauthenticated",
    402: "Insufficient credit",
    403: "Permission denied",
    404: "Not found",
    422: "Input validation failed",
    429: "Too many requests",
}
DETAILS = {
    401: "You did not pass a valid authentication token",
    402: "You have insufficient credit to run this model. Go to the billing page to purchase credit.",
    403: "You do not have permission to perform this action.",
    404: "The requested resource could not be found.",
}
# What the proxies of the new-api family call the same thing.
PROXY_CODES = {
    401: "invalid_api_key",
    402: "insufficient_user_quota",
    403: "insufficient_user_quota",
    404: "not_found",
    422: "invalid_request",
    429: "rate_limit_exceeded",
    500: "bad_response",
    502: "do_request_failed",
    503: "channel:no_available_key",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class InvalidField:
    """One thing wrong with a body, in the words of the vendor's validator: `type` is e.g. `number_lte`."""

    type: str
    field: str
    description: str


class Refusal(Exception):
    """The call is refused with this status; `extra` goes into the body, `headers` beside it."""

    def __init__(
        self,
        status: int,
        detail: str | None = None,
        *,
        title: str | None = None,
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status = status
        self.title = title or TITLES.get(status, "Internal server error")
        self.detail = detail or DETAILS.get(status, "The server could not handle the request.")
        self.extra = dict(extra or {})
        self.headers = dict(headers or {})
        super().__init__(self.detail)


def invalid(fields: Sequence[InvalidField]) -> Refusal:
    """422 as the vendor words it: all faults in one text, and again as a list."""
    listed = [{"type": f.type, "field": f.field, "description": f.description} for f in fields]
    detail = "".join(f"- {f.field}: {f.description}\n" for f in fields)
    return Refusal(422, detail, extra={"invalid_fields": listed})


def invalid_version() -> Refusal:
    """A wrong version is a 422 as well, not a 404."""
    detail = "The specified version does not exist (or perhaps you don't have permission to use it?)"
    return Refusal(422, detail, title="Invalid version or not permitted")


def throttled(wait_seconds: float, *, per_minute: float, burst: int, hint: str) -> Refusal:
    """429. `hint` says where the wait is told: `body` (as seen in 2026), `text`, `header` or `none`."""
    seconds = max(1, math.ceil(wait_seconds))
    told = hint in ("body", "text")
    detail = f"Request was throttled. Your rate limit is {per_minute:g} requests per minute with a burst of {burst}."
    return Refusal(
        429,
        f"{detail} Your rate limit resets in ~{seconds}s." if told else "Request was throttled.",
        extra={"retry_after": seconds} if hint == "body" else {},
        headers={"Retry-After": str(seconds)} if hint == "header" else {},
    )


def problem(refusal: Refusal) -> dict[str, Any]:
    """The body Replicate sends, an RFC 7807 problem without `type`."""
    return {"title": refusal.title, "detail": refusal.detail, "status": refusal.status, **refusal.extra}


def proxy_error(refusal: Refusal) -> dict[str, Any]:
    """The body the proxies send."""
    kind = "new_api_error" if refusal.status < 500 else "upstream_error"
    code = PROXY_CODES.get(refusal.status, "bad_response")
    return {"error": {"message": refusal.detail, "type": kind, "param": "", "code": code}}
