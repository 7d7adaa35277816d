"""The list endpoint: which predictions a page holds, and the links to its neighbours."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from sandbox import shapes
from sandbox.faults import VIEW
from sandbox.predictions import NS
from sandbox.provider import Provider
from sandbox.refusals import Refusal

PAGE = 100  # predictions a page


async def list_page(provider: Provider, query: Mapping[str, str]) -> dict[str, Any]:
    """Newest first; `created_after` is inclusive, `created_before` exclusive. Raises Refusal 422.

    A cursor is a position in the order of creation, and positions never move: paging backwards in time misses and
    repeats nothing while new predictions arrive.
    """
    view = provider.faults.strike("list", None, VIEW)
    lowest, highest = _bounds(provider, query, lag_seconds=view.get("list_lag", {}).get("seconds", 0))
    is_circle = "list_circle" in view
    stop = min(highest, _read_cursor(query["cursor"])) if "cursor" in query and not is_circle else highest
    start = max(lowest, stop - PAGE)
    records = provider.store.slice(start, stop)
    results = [shapes.altered(await provider.show(record), record, view) for record in records]
    if "shuffle" in view:
        provider.faults.dice.shuffle(results)
    older = _link(provider, query, start) if start > lowest or is_circle else None
    newer = _link(provider, query, min(highest, stop + PAGE)) if stop < highest else None
    return shapes.page(results, newer=newer, older=older)


def _bounds(provider: Provider, query: Mapping[str, str], *, lag_seconds: float) -> tuple[int, int]:
    store = provider.store
    lowest, highest = 0, len(store)
    if lag_seconds:
        highest = store.position_at(provider.now_ns() - int(lag_seconds * NS))
    try:
        if "created_after" in query:
            lowest = store.position_at(shapes.read_stamp(query["created_after"]))
        if "created_before" in query:
            highest = min(highest, store.position_at(shapes.read_stamp(query["created_before"])))
    except ValueError as error:
        raise Refusal(422, str(error)) from None
    if query.get("source") == "web":
        highest = lowest
    return lowest, max(lowest, highest)


def _link(provider: Provider, query: Mapping[str, str], position: int) -> str:
    cursor = urlsafe_b64encode(f"p={position}".encode()).decode()
    return f"{provider.links_base}/v1/predictions?{urlencode({**query, 'cursor': cursor})}"


def _read_cursor(text: str) -> int:
    try:
        return int(urlsafe_b64decode(text).decode().removeprefix("p="))
    except ValueError:
        raise Refusal(422, "Invalid cursor") from None
