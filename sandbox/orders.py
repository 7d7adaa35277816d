"""Reading a create: what is asked for, or why it is refused. Nothing is made here."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sandbox.models import HIDDEN, Catalog, Model
from sandbox.refusals import InvalidField, Refusal, invalid, invalid_version

WEBHOOK_EVENTS = ("start", "output", "logs", "completed")
DEFAULT_EVENTS = ("output", "completed")
BODY_KEYS = {"version", "input", "webhook", "webhook_events_filter", "stream"}
LONGEST_WAIT_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a create's address already says: the official model or the deployment to run."""

    model: Model | None = None
    deployment: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A create that is in order. `wait_seconds` is None where the reply is wanted at once."""

    model: Model
    version: str
    deployment: str | None
    input: Mapping[str, Any]
    webhook: str | None
    webhook_events: tuple[str, ...]
    cancel_after_seconds: float | None
    wait_seconds: float | None


def read_order(
    body: object, headers: Mapping[str, str], *, target: Target, catalog: Catalog, min_cancel_after_seconds: float
) -> Order:
    """Raises Refusal 422 for all that the vendor refuses before anything is made or billed."""
    if not isinstance(body, dict):
        raise Refusal(400, "The request body is not a JSON object.")
    wrong = _wrong_keys(body, needs_version=target.model is None)
    if wrong:
        raise invalid(wrong)
    model = target.model or catalog.versioned(str(body["version"]))
    if model is None:
        raise invalid_version()
    faults = model.faults_in(body["input"]) + _webhook_faults(body)
    if faults:
        raise invalid(faults)
    return Order(
        model=model,
        version=HIDDEN if model.official else model.version_id,
        deployment=target.deployment,
        input=body["input"],
        webhook=body.get("webhook"),
        webhook_events=tuple(body.get("webhook_events_filter") or DEFAULT_EVENTS),
        cancel_after_seconds=_cancel_after(headers.get("Cancel-After"), min_cancel_after_seconds),
        wait_seconds=_wait(headers.get("Prefer")),
    )


def _wrong_keys(body: Mapping[str, Any], *, needs_version: bool) -> list[InvalidField]:
    allowed = BODY_KEYS if needs_version else BODY_KEYS - {"version"}
    wrong = [
        InvalidField(
            type="additional_property_not_allowed",
            field="(root)",
            description=f"Additional property {key} is not allowed",
        )
        for key in body
        if key not in allowed
    ]
    required = ("version", "input") if needs_version else ("input",)
    missing = [key for key in required if key not in body]
    return wrong + [InvalidField(type="required", field="(root)", description=f"{key} is required") for key in missing]


def _webhook_faults(body: Mapping[str, Any]) -> list[InvalidField]:
    """HTTPS only, as the vendor has it, but plain HTTP to this machine is let through: nobody else can listen."""
    faults = []
    webhook = body.get("webhook")
    if webhook is not None and not (isinstance(webhook, str) and _allowed_webhook(webhook)):
        faults.append(InvalidField(type="format", field="webhook", description="Must be an HTTPS URL"))
    events = body.get("webhook_events_filter") or []
    if not isinstance(events, list) or any(event not in WEBHOOK_EVENTS for event in events):
        listed = ", ".join(f'"{event}"' for event in WEBHOOK_EVENTS)
        faults.append(
            InvalidField(type="enum", field="webhook_events_filter", description=f"Must be some of: {listed}")
        )
    return faults


def _allowed_webhook(url: str) -> bool:
    parts = urlsplit(url)
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and is_loopback(str(parts.hostname)))
    )


def is_loopback(host: str) -> bool:
    """By its name or number alone: nothing is looked up."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _cancel_after(text: str | None, min_seconds: float) -> float | None:
    if text is None:
        return None
    found = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?", text.strip())
    hours, minutes, seconds = (int(part or 0) for part in found.groups()) if found else (0, 0, 0)
    total = 3600 * hours + 60 * minutes + seconds
    if total < max(min_seconds, 1):
        raise Refusal(422, f"Cancel-After must be a duration of at least {min_seconds:g} seconds, e.g. 30s or 1h30m.")
    return float(total)


def _wait(text: str | None) -> float | None:
    found = re.fullmatch(r"wait(?:=(\d+))?", (text or "").strip())
    if not found:
        return None
    seconds = int(found[1] or LONGEST_WAIT_SECONDS)
    if not 1 <= seconds <= LONGEST_WAIT_SECONDS:
        raise Refusal(422, f"Prefer: wait must be between 1 and {LONGEST_WAIT_SECONDS} seconds.")
    return float(seconds)
