"""The records that travel between the rooms: what was asked (Spec), our record of it (Job), what came (Image).

All are frozen: a job changes in the ledger only, by a move (`imagejobs.moves`).
Times are seconds since the epoch, UTC, as floats.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from json.encoder import encode_basestring as _quoted
from typing import Any, NamedTuple, Self

from imagejobs.states import LIVE, State

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode


def canonical_json(value: Any) -> str:
    """One text for one value: sorted keys, no spaces, non-ASCII kept as it is."""
    return _encode(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One accepted row: defaults and seed written in, so that what is recorded is what will be sent.

    `input` is the provider's input object, `outputs` how many images it asks for, `tags` the caller's own.
    """

    id: str
    line: int
    version: str
    input: Mapping[str, Any]
    outputs: int = 1
    tags: Mapping[str, Any] | None = None


class SpecText(NamedTuple):
    """A Spec as the ledger keeps it: input and tags as canonical JSON. Tags that are empty are none."""

    id: str
    line: int
    version: str
    input: str
    outputs: int
    tags: str | None

    @classmethod
    def of(cls, spec: Spec) -> Self:
        """The spec's texts."""
        tags = _encode(spec.tags) if spec.tags else None
        return cls(spec.id, spec.line, spec.version, _encode(spec.input), spec.outputs, tags)

    def spec(self) -> Spec:
        """The spec that these are the texts of."""
        return Spec(
            id=self.id,
            line=self.line,
            version=self.version,
            input=json.loads(self.input),
            outputs=self.outputs,
            tags=json.loads(self.tags) if self.tags else None,
        )

    @property
    def fingerprint(self) -> str:
        """Canonical JSON of what makes it this spec and no other: `submit` compares batches by it."""
        return f"[{_quoted(self.id)},{_quoted(self.version)},{self.input},{self.tags or 'null'}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as a stage sees it. `attempt` numbers the creates; `tries_left` counts failures still allowed."""

    id: int
    batch_id: int
    batch: str
    row_id: str
    state: State
    version: str
    input: Mapping[str, Any]
    outputs: int
    attempt: int
    tries_left: int
    due_at: float = 0.0
    cancel_requested: bool = False
    intent_at: float | None = None
    accepted_at: float | None = None
    prediction_id: str | None = None
    output: tuple[str, ...] = ()
    completed_at: float | None = None
    expires_at: float | None = None
    copy_tries: int = 0

    def age_seconds(self, now: float) -> float:
        """Of its prediction, since it was accepted: a create waits for its turn, and a reply is long in coming."""
        return now - (self.accepted_at or self.intent_at or 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flight:
    """As much of a running job as every sweep needs of all of them; of most, nothing more is ever read."""

    job_id: int
    version: str
    prediction_id: str
    intent_at: float
    accepted_at: float
    due_at: float
    cancel_requested: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One verified image in the store. `index` is the provider's own, so a withheld sibling leaves a gap."""

    index: int
    uri: str
    sha256: str
    bytes: int
    width: int
    height: int
    content_type: str
    stored_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One submitted file: its counts (which always sum to `total`), pause and progress.

    `nearest_expiry` is when the first of the outputs that wait to be copied dies.
    """

    id: int
    key: str
    account: str
    store: str
    total: int
    counts: Mapping[State, int]
    images: int = 0
    creates_sent: int = 0
    possible_double_payments: int = 0
    orphans: int = 0
    weight: float = 1.0
    priority: int = 0
    not_before: float = 0.0
    paused: str | None = None
    paused_kind: str | None = None
    generation: int = 0
    created_at: float = 0.0
    opened_at: float | None = None
    first_submitted_at: float | None = None
    finished_at: float | None = None
    closed_at: float | None = None
    last_moved_at: float | None = None
    nearest_expiry: float | None = None

    @property
    def live(self) -> int:
        """How many jobs are not yet final."""
        return sum(self.counts[state] for state in LIVE)

    def may_send(self, now: float) -> bool:
        """Whether it has jobs that only wait for the allowance."""
        return bool(self.counts[State.QUEUED]) and not self.paused and self.not_before <= now

    @property
    def is_done(self) -> bool:
        """Every job final, and the manifest and its completion marker written."""
        return self.closed_at is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureGroup:
    """Failed jobs that share a cause and a normalised text, and what retrying them would do."""

    cause: str
    error_key: str
    count: int
    sample_id: str
    sample_error: str
    copyable: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which final jobs a retry means: all failed ones, or those of a cause, of ids, or older than a moment."""

    causes: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    finished_before: float | None = None
    states: tuple[State, ...] = field(default=(State.FAILED,))
