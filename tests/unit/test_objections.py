"""What a refusal says, in whatever words, and how long it asks to wait."""

from __future__ import annotations

import json
from typing import Any

import pytest

from imagejobs.edges.objections import Objection, read_objection


def objection(body: Any, headers: dict[str, str] | None = None) -> Objection:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_objection(content, headers or {}, now=1000.0)


def test_problem_json_is_understood() -> None:
    """Title and detail make the text; a field the detail does not name is added."""
    body = {
        "title": "Input validation failed",
        "detail": "- input.num_inference_steps: Must be less than or equal to 4\n",
        "status": 422,
        "invalid_fields": [
            {"field": "input.num_inference_steps", "description": "Must be less than or equal to 4"},
            {"type": "enum", "field": "input.width", "description": "must be one of 128, 256"},
        ],
    }
    expected = (
        "Input validation failed: - input.num_inference_steps: Must be less than or equal to 4"
        "; input.width: must be one of 128, 256"
    )

    assert expected == objection(body).text


def test_a_proxys_error_object_is_understood() -> None:
    """Message and code, as new-api writes them."""
    body = {
        "error": {"message": "no quota left", "type": "new_api_error", "param": "", "code": "insufficient_user_quota"}
    }
    found = objection(body)

    assert ("no quota left", "insufficient_user_quota") == (found.text, found.code)
    assert found.is_quota


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"error": "nope"}, "nope"),
        ({"message": "nope"}, "nope"),
        ({"detail": [{"loc": ["body"], "msg": "nope"}]}, '{"detail": [{"loc": ["body"], "msg": "nope"}]}'),
        (b"<html>\n<title>502 Bad Gateway</title>", "<html> <title>502 Bad Gateway</title>"),
        (b"\xff\x00\x1b[31m", "�[31m"),
        (b"", ""),
    ],
)
def test_any_body_gives_a_text(body: Any, expected: str) -> None:
    """Whatever was said is shown, fit for one line of a table."""
    assert expected == objection(body).text


def test_a_long_text_is_cut() -> None:
    """Nobody reads a megabyte of stack trace."""
    assert len(objection({"detail": "x" * 10_000}).text) == 500


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        ({"detail": "resets in ~30s.", "retry_after": 5}, {"Retry-After": "2"}, 2.0),
        ({"detail": "resets in ~30s.", "retry_after": 5}, {}, 5.0),
        ({"detail": "Your rate limit resets in ~30s."}, {}, 30.0),
        ({"detail": "Request was throttled. Expected available in 1 second."}, {}, 1.0),
        ({"detail": "try again in 2 minutes"}, {}, 120.0),
        ({"detail": "6 requests per minute with a burst of 1"}, {}, None),
        ({}, {"Retry-After": "Wed, 21 Oct 2015 07:28:30 GMT", "Date": "Wed, 21 Oct 2015 07:28:00 GMT"}, 30.0),
        ({}, {"Retry-After": "Thu, 01 Jan 1970 00:17:00 GMT"}, 20.0),
        ({}, {"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
        ({"retry_after": -1}, {"Retry-After": "nan"}, None),
        ({}, {"Retry-After": "later"}, None),
        ({}, {"Retry-After": "1e308"}, 3600.0),
        ({"retry_after": 10**9}, {}, 3600.0),
        ({}, {"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}, 3600.0),
    ],
)
def test_how_long_to_wait(body: Any, headers: dict[str, str], expected: float | None) -> None:
    """The header first, then the body's number, then its words; a date counts from the provider's own clock."""
    assert expected == objection(body, headers).after_seconds
