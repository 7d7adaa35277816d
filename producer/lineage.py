"""What was tried for one row, create after create: how it came to be where it stands, and what was paid on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from imagejobs.errors import Complaint
from imagejobs.job import Batch
from imagejobs.ledger import Ledger
from imagejobs.manifest import iso
from producer.wording import printable

MOMENTS = ("intent_at", "accepted_at", "completed_at", "expires_at")
FACTS = ("why", "outcome", "cause", "error", "prediction_id", "predict_time_s", "copy_tries", "possible_double_payment")


def attempts_of(ledger: Ledger, batch: Batch, row_id: str) -> list[dict[str, Any]]:
    """Every attempt of a row, the first one first; times as ISO 8601. Raises Complaint when there is no such row."""
    found = ledger.views.history(batch.id, row_id)
    if not found and not ledger.views.has_row(batch.id, row_id):
        raise Complaint(f"{batch.key} has no row {printable(row_id)!r}: see `imagejobs failures {batch.key}`")
    return [_facts(one) for one in found]


def _facts(attempt: Mapping[str, Any]) -> dict[str, Any]:
    """`why` is what it repeats: none for the first, else the cause of the one before it, or `retry`."""
    moments = {name: iso(attempt[name]) for name in MOMENTS}
    return {"attempt": attempt["number"], **{name: attempt[name] for name in FACTS}, **moments}


def view(batch: Batch, row_id: str, attempts: Sequence[Mapping[str, Any]]) -> RenderableType:
    """One attempt a line, and what was said of it below."""
    if not attempts:
        return Text(f"{batch.key}, {printable(row_id)}: nothing was sent for it yet")
    lines = [Text(f"{batch.key}, {printable(row_id)}", style="bold")]
    for one in attempts:
        came_to = " ".join(filter(None, (one["outcome"], one["cause"])))
        why, prediction = one["why"] or "first", one["prediction_id"] or "no prediction"
        lines.append(Text(f"  {one['attempt']:>3}  {one['intent_at']}  {why}  {prediction}  {came_to}"))
        lines += [Text(f"       {printable(one['error'])}", style="dim")] if one["error"] else []
    return Group(*lines)
