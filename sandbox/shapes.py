"""How objects look on the wire: the vendor's field names, its uneven time stamps, and what is left out when."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sandbox.faults import Struck
from sandbox.models import Model
from sandbox.predictions import NS, Look, Prediction, Status

USUAL_STEPS = 50  # of a progress bar where the input says nothing
MODEL_URL = "https://replicate.com"


def stamp(time_ns: int, digits: int) -> str:
    """ISO 8601 in UTC with 3 to 9 fractional digits, cut off, not rounded: never later than the time itself."""
    whole = datetime.fromtimestamp(time_ns // NS, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{f'{time_ns % NS:09d}'[:digits]}Z"


def read_stamp(text: str) -> int:
    """Nanoseconds since 1970; raises ValueError where the text is no ISO 8601 time. No zone means UTC."""
    found = re.fullmatch(r"(.+?\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:?\d\d)?", text.strip())
    if not found:
        raise ValueError(f"{text!r} is not an ISO 8601 time")
    whole = datetime.fromisoformat(f"{found[1]}{(found[3] or 'Z').replace('Z', '+00:00')}")
    return int(whole.timestamp()) * NS + int((found[2] or "0").ljust(9, "0"))


def prediction(
    record: Prediction, seen: Look, *, outputs: Sequence[str] | None, one_output: bool, links_base: str
) -> dict[str, Any]:
    """The object of get, list and webhooks. `outputs` is None where there is nothing (yet, or any more)."""
    error = record.fate.error if seen.status == Status.FAILED else None
    shown: dict[str, Any] = {
        "id": record.id,
        "model": record.model,
        "version": record.version,
        "input": {} if seen.removed else record.input,
        "logs": "" if seen.removed else logs(record, seen),
        "output": _output(outputs, one_output=one_output),
        "data_removed": seen.removed,
        "error": error,
        "source": "api",
        "status": seen.status,
        "created_at": stamp(record.created_ns, _digits(record, "created_at")),
        "urls": urls(record, links_base),
    }
    if _lacks_fields(record, seen):
        del shown["output"], shown["data_removed"]
    if record.deployment:
        shown["deployment"] = record.deployment
    if record.webhook:
        shown["webhook"] = record.webhook
        shown["webhook_events_filter"] = list(record.webhook_events)
    if record.deadline_ns is not None:
        shown["deadline"] = stamp(record.deadline_ns, _digits(record, "deadline"))
    if seen.started_ns is not None:
        shown["started_at"] = stamp(seen.started_ns, _digits(record, "started_at"))
    if seen.completed_ns is not None:
        shown["completed_at"] = stamp(seen.completed_ns, _digits(record, "completed_at"))
        shown["metrics"] = _metrics(record, seen.started_ns, seen.completed_ns)
    return shown


def _output(outputs: Sequence[str] | None, *, one_output: bool) -> list[str] | str | None:
    if outputs is None or not one_output:
        return outputs if outputs is None else list(outputs)
    return outputs[0] if outputs else None


def urls(record: Prediction, links_base: str) -> dict[str, str]:
    get = f"{links_base}/v1/predictions/{record.id}"
    return {"get": get, "cancel": f"{get}/cancel", "web": f"{MODEL_URL}/p/{record.id}"}


def logs(record: Prediction, seen: Look) -> str:
    """Nothing before the start; then the seed, and the progress bar that the official client reads."""
    if seen.started_ns is None:
        return ""
    asked = record.input.get("num_inference_steps")
    steps = asked if isinstance(asked, int) else USUAL_STEPS
    lines = [f"Using seed: {record.seed}"]
    for tenth in range(int(seen.progress * 10) + 1):
        bar = "█" * tenth + " " * (10 - tenth)
        lines.append(f"{tenth * 10:3d}%|{bar}| {steps * tenth // 10}/{steps}")
    if seen.status == Status.FAILED:
        lines.append(str(record.fate.error))
    return "\n".join(lines) + "\n"


def model(described: Model) -> dict[str, Any]:
    name = described.full_name
    return {
        "url": f"{MODEL_URL}/{name}",
        "owner": described.owner,
        "name": described.name,
        "description": described.description,
        "visibility": "public",
        "is_official": described.official,
        "github_url": None,
        "paper_url": None,
        "license_url": None,
        "run_count": 0,
        "cover_image_url": None,
        "default_example": None,
        "latest_version": described.version,
    }


def page(results: list[Any], *, newer: str | None = None, older: str | None = None) -> dict[str, Any]:
    """Every list of the vendor: `next` leads to what is older."""
    return {"previous": newer, "next": older, "results": results}


def altered(shown: dict[str, Any], record: Prediction, view: Struck) -> dict[str, Any]:
    """The object after the fault rules that struck this view of it."""
    if "created_at_shift" in view:
        shift_ns = int(view["created_at_shift"]["seconds"] * NS)
        shown = {**shown, "created_at": stamp(record.created_ns + shift_ns, _digits(record, "created_at"))}
    dropped = view.get("drop_fields", {}).get("fields", ())
    return {key: value for key, value in shown.items() if key not in dropped}


def _metrics(record: Prediction, started_ns: int | None, completed_ns: int) -> dict[str, float]:
    metrics = {"total_time": (completed_ns - record.created_ns) / NS}
    if started_ns is not None:
        metrics["predict_time"] = (completed_ns - started_ns) / NS
    return metrics


def _digits(record: Prediction, field: str) -> int:
    """3 to 9, different by prediction and field, as recorded from the vendor."""
    return 3 + zlib.crc32(f"{record.id}{field}".encode()) % 7


def _lacks_fields(record: Prediction, seen: Look) -> bool:
    """Every other fresh object comes without two fields that its description calls required: recorded, too."""
    return seen.status == Status.STARTING and zlib.crc32(record.id.encode()) % 2 == 0
