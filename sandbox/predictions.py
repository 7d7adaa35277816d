"""A prediction, and what it looks like at any moment.

Everything that will ever happen to a prediction is decided when it is made and kept in its record. Status, output
and metrics at a time are a pure function of record and time: no timers run, and a restart changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

NS = 1_000_000_000  # nanoseconds a second: times are whole nanoseconds since 1970, as time stamps show up to 9 digits


def prompt_in(given: object) -> str:
    """The words of any input: models call them `prompt` or `text`."""
    return str(given.get("prompt") or given.get("text") or "") if isinstance(given, Mapping) else ""


class Status(StrEnum):
    """The statuses of the vendor's API description; a fault may show another word."""

    STARTING = "starting"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"  # by the user, or by its deadline while running
    ABORTED = "aborted"  # by its deadline before it ever ran


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """How a prediction will end if it is left alone.

    `output` says how pictures are handed over: `urls`, `data` (data: URIs), `null` (nothing, though it succeeded) or
    `removed` (nothing, as if their hour were over). `odd_status` is a word shown while it runs, or for ever.
    """

    error: str | None = None
    images: tuple[int, ...] = ()
    output: str = "urls"
    output_url: str | None = None
    odd_status: str | None = None
    never_ends: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One accepted create. `input` is what was sent, `seed` what was used; official models have `hidden` as version."""

    id: str
    file_key: str
    model: str
    version: str
    input: Mapping[str, Any]
    seed: int
    created_ns: int
    starts_ns: int
    ends_ns: int
    deadline_ns: int | None = None
    canceled_ns: int | None = None
    deployment: str | None = None
    webhook: str | None = None
    webhook_events: tuple[str, ...] = ()
    fate: Fate = field(default_factory=Fate)

    @property
    def prompt(self) -> str:
        """The words of its input, for fault rules and the safety filter; empty where there are none."""
        return prompt_in(self.input)

    def to_json(self) -> dict[str, Any]:
        """One journal entry; `from_json` gives the same record back."""
        return asdict(self)

    @staticmethod
    def from_json(entry: Mapping[str, Any]) -> Prediction:
        """Raises TypeError or KeyError where the entry was not written by `to_json`."""
        fate = Fate(**{**entry["fate"], "images": tuple(entry["fate"]["images"])})
        return Prediction(**{**entry, "fate": fate, "webhook_events": tuple(entry["webhook_events"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What can be seen of a prediction at one moment. `progress` runs from 0 to 1; `removed` = its data are gone."""

    status: str
    ended: bool
    started_ns: int | None
    completed_ns: int | None
    progress: float
    removed: bool


def ending(prediction: Prediction) -> tuple[int, Status]:
    """When and as what it ends, by what is known of it now: a later cancel makes another record.

    A stop at or after the natural end changes nothing, so cancelling a finished prediction is harmless.
    """
    stops = []
    if prediction.canceled_ns is not None:
        stops.append((prediction.canceled_ns, Status.CANCELED))
    if prediction.deadline_ns is not None:
        began = prediction.starts_ns <= prediction.deadline_ns
        stops.append((prediction.deadline_ns, Status.CANCELED if began else Status.ABORTED))
    natural = Status.FAILED if prediction.fate.error is not None else Status.SUCCEEDED
    if stops and (min(stops)[0] < prediction.ends_ns or prediction.fate.never_ends):
        return min(stops)
    return prediction.ends_ns, natural


def look(prediction: Prediction, now_ns: int, *, keep_ns: int) -> Look:
    """The prediction as seen at `now_ns`, where data are removed `keep_ns` after the end."""
    end_ns, final = ending(prediction)
    stopped = final in (Status.CANCELED, Status.ABORTED)
    ended = now_ns >= end_ns and (stopped or not prediction.fate.never_ends)
    seen_ns = end_ns if ended else now_ns
    started = prediction.starts_ns <= seen_ns
    run_ns = max(1, prediction.ends_ns - prediction.starts_ns)
    return Look(
        status=final if ended else _running_status(prediction, started=started),
        ended=ended,
        started_ns=prediction.starts_ns if started else None,
        completed_ns=end_ns if ended else None,
        progress=min(1.0, max(0, seen_ns - prediction.starts_ns) / run_ns),
        removed=ended and (prediction.fate.output == "removed" or now_ns >= end_ns + keep_ns),
    )


def _running_status(prediction: Prediction, *, started: bool) -> str:
    if not started:
        return Status.STARTING
    return prediction.fate.odd_status or Status.PROCESSING
