"""Webhooks, the provider's second way to tell of a prediction: which attempt it belongs to, and who says so. Pure.

The provider has no field for a caller's own id, and advises to put one into the webhook's address
(https://replicate.com/docs/topics/webhooks/setup-webhook). So an address names the attempt: a create whose reply was
lost is known by it, from the call and from the provider's list, which shows a prediction's webhook.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from imagejobs.edges.fields import amount
from imagejobs.job import Job

EVENTS = ("start", "completed")
TOLERANCE_SECONDS = 900.0  # a replay changes nothing, so hosts may disagree about the time
_KEY_BYTES = 16  # the provider's have 24 or more; an unfinished paste must not let everybody sign
_TAG = re.compile(r"(\d{1,18})\.(\d{1,9})\.([0-9a-f]{12})", re.ASCII)


class Forged(Exception):
    """Not signed by the provider, or not lately."""


@dataclass(frozen=True, slots=True)
class AttemptTag:
    """Names an attempt. `owner` is a digest of the job's batch and row: other ledgers of the account count alike."""

    job_id: int
    number: int
    owner: str

    def __str__(self) -> str:
        return f"{self.job_id}.{self.number}.{self.owner}"

    def is_of(self, job: Job) -> bool:
        """Whether it names an attempt of this very job."""
        return (self.job_id, self.owner) == (job.id, _owner(job))


def tag_of(job: Job) -> AttemptTag:
    """Of the job's current attempt."""
    return AttemptTag(job.id, job.attempt, _owner(job))


def _owner(job: Job) -> str:
    return hashlib.sha256(f"{job.batch}\n{job.row_id}".encode()).hexdigest()[:12]


def address(base: str, job: Job) -> str:
    """Where the provider shall tell of the job's current attempt."""
    return f"{base}?attempt={tag_of(job)}"


def read_tag(url: Any) -> AttemptTag | None:
    """The attempt that a webhook's address names; None where it names none."""
    try:
        named = parse_qs(urlsplit(url).query).get("attempt", [""])[0] if isinstance(url, str) else ""
    except ValueError:
        return None
    found = _TAG.fullmatch(named)
    return AttemptTag(int(found[1]), int(found[2]), found[3]) if found else None


def read_secret(text: str) -> bytes:
    """The key in a webhook secret, which is `whsec_` and base64. Raises ValueError when it is not."""
    try:
        key = base64.b64decode(text.strip().removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("a webhook secret is whsec_ and base64") from None
    if len(key) < _KEY_BYTES:
        raise ValueError(f"a webhook secret has {_KEY_BYTES} bytes at least: anybody could guess this one")
    return key


def verify(body: bytes, headers: Mapping[str, str], *, key: bytes, now: float) -> None:
    """Raises Forged unless one of the signatures was made with the key.

    https://replicate.com/docs/topics/webhooks/verify-webhook
    """
    name, sent = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    signed_at = amount(sent)
    if signed_at is None or abs(now - signed_at) > TOLERANCE_SECONDS:
        raise Forged("its time is missing, or too far off")
    signed = f"{name}.{sent}.".encode(errors="replace") + body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest())
    given = [one.partition(",")[2] for one in headers.get("webhook-signature", "").split() if one.startswith("v1,")]
    if not any(hmac.compare_digest(expected, one.encode(errors="replace")) for one in given):
        raise Forged("no signature of the provider's")
