"""What a stage says should happen with a job. A stage returns one of these; `settle` turns it into a move.

Ways to advance: Accepted, Answered, Finished, Stored. Ways not to: Wait (not yet, burns nothing), Retry (back to the
queue), GiveUp (final), Unsent, Unknown, Absent, Held, Canceled.
"""

from __future__ import annotations

from dataclasses import dataclass

from imagejobs.errors import Cause
from imagejobs.job import Image


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The provider took the create, or the list shows that it had."""

    prediction_id: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A proxy answered the create with the images' addresses (or the images, as data: URIs)."""

    output: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The prediction succeeded: its outputs wait to be copied."""

    output: tuple[str, ...]
    completed_at: float
    predict_time_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Every image asked for is in the store, verified."""

    images: tuple[Image, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Not yet. `copy_failed` says that a free copy did not work and will be tried again."""

    after_seconds: float
    copy_failed: bool = False
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Back to the queue. Before acceptance nothing was paid; after it, the next attempt pays again.

    `images` did come; they are kept where there is no next attempt.
    """

    cause: Cause
    error: str
    after_seconds: float | None = None
    images: tuple[Image, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    """Will not work. Images that did come are kept; `is_copied`: nothing more could be copied for free."""

    cause: Cause
    error: str
    images: tuple[Image, ...] = ()
    is_copied: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsent:
    """The create provably never left this machine. Without a cause: for a reason of our own."""

    error: str
    after_seconds: float
    cause: Cause | None = Cause.TRANSIENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """The create's reply was lost: the job stays `submitting` until it has been looked up."""

    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """A create without a reply is not at the provider; if not `is_proven`, the owner has chosen to take the risk."""

    error: str
    is_proven: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The account or the store said no: the job waits where it is (or goes back unpaid), and the batch pauses."""

    cause: Cause
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Canceled:
    """The provider confirms what a person asked for."""


Outcome = Accepted | Answered | Finished | Stored | Wait | Retry | GiveUp | Unsent | Unknown | Absent | Held | Canceled
