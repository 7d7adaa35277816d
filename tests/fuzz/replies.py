"""Replies after which nobody uses the connection again: each example has one of its own."""

from __future__ import annotations

from collections.abc import Mapping

from tests.edges.scripted_host import Act, answer, then_hang_up


def last_answer(status: int, body: bytes, headers: Mapping[str, str]) -> Act:
    """The reply, and the end of the connection, announced."""
    return then_hang_up(answer(status, body, {"Connection": "close", **headers}))
