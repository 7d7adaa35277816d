"""What can go wrong, sorted by what to do about it.

Two families. `Complaint` and its kinds are for the person at the command line: each has an exit code and a text that
names the way out. The others are raised by the edges (`imagejobs.edges`) and turned into outcomes by the stages;
every kind has a reaction of its own, and a kind without one does not exist.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Cause(StrEnum):
    """Why a job did not advance. A closed list: reports, alerts and `retry --cause` rely on it."""

    TRANSIENT = "transient"  # the provider stumbled: the same spec may well pass next time
    RATE_LIMITED = "rate_limited"  # told to wait: never a failure, never counted
    INPUT = "input"  # this spec can never pass: mend it first
    SAFETY = "safety"  # the provider's filter withheld images: another seed may pass
    SHORT = "short"  # fewer images came than were asked for, and nothing says why
    AUTH_BILLING = "auth_billing"  # the account was refused: pauses the batch, burns nothing
    EXPIRED = "expired"  # the provider deleted the output before it was copied
    DOWNLOAD = "download"  # the output's address never gave an intact image
    STORAGE = "storage"  # the bucket refused: pauses the batch, the images still wait at the provider
    DEADLINE = "deadline"  # took longer than the job's time limit
    CANCELED = "canceled"  # ended at the provider by somebody else
    UNKNOWN_OUTCOME = "unknown_outcome"  # a create without a reply, and no list that tells what became of it
    UNKNOWN = "unknown"  # the provider said something nobody has seen before

    @property
    def retry_advice(self) -> str:
        """One line for `failures`: what a retry would do for this cause."""
        return _ADVICE[self]


_ADVICE = {
    Cause.TRANSIENT: "likely to pass now",
    Cause.RATE_LIMITED: "likely to pass now",
    Cause.INPUT: "fails again: mend the rows and submit them as a new batch",
    Cause.SAFETY: "fails again with the same seed: change prompt or seed in a new batch",
    Cause.SHORT: "may pass",
    Cause.AUTH_BILLING: "passes once the account is in order",
    Cause.EXPIRED: "generates again, and pays again",
    Cause.DOWNLOAD: "copies again for free while the provider keeps the output",
    Cause.STORAGE: "copies again for free while the provider keeps the output",
    Cause.DEADLINE: "may pass when the model is warm",
    Cause.CANCELED: "generates again",
    Cause.UNKNOWN_OUTCOME: "may pay twice: look at the provider's own list first",
    Cause.UNKNOWN: "unclear: read the provider's text",
}


class Complaint(Exception):
    """Something a person must mend. Printed without a traceback; nothing was spent."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with one line of input: where, what was given, and the way out."""

    line: int
    field: str
    message: str

    def __str__(self) -> str:
        where = f"line {self.line}" + (f", {self.field}" if self.field else "")
        return f"{where}: {self.message}"


class BadInput(Complaint):
    """Rows that cannot be accepted. `faults` holds the first of them, `count` how many there are in all."""

    def __init__(self, faults: Sequence[Fault], *, count: int | None = None, title: str = "nothing was sent") -> None:
        self.faults = tuple(faults)
        self.count = len(self.faults) if count is None else count
        rest = self.count - len(self.faults)
        lines = [f"{self.count} fault{'s' * (self.count != 1)} in the input; {title}:"]
        lines += [f"  {fault}" for fault in self.faults]
        lines += [f"  … and {rest} more"] if rest else []
        super().__init__("\n".join(lines))


class BadSetting(Complaint):
    """A setting or a door (Redis, database, bucket, provider) that cannot be used as configured."""


class NotSent(Exception):
    """The request provably never reached the provider (refused, no route, no name): safe to send again."""


class OutcomeUnknown(Exception):
    """A create whose reply was lost, or made no sense: it may have been accepted. Look it up, never guess."""


class Throttled(Exception):
    """Told to wait (429). Burns no attempt. `after_seconds` is the server's word, None when it gave none."""

    def __init__(self, message: str, *, after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.after_seconds = after_seconds


class Refused(Exception):
    """The account (401, 402, 403) or the bucket's owner said no: pause the batch, fail nobody."""

    def __init__(self, message: str, *, cause: Cause = Cause.AUTH_BILLING) -> None:
        super().__init__(message)
        self.cause = cause


class Transient(Exception):
    """Did not work this time; the same call may work later. For reads and copies, which cost nothing to repeat."""

    def __init__(self, message: str, *, cause: Cause = Cause.TRANSIENT, after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.cause = cause
        self.after_seconds = after_seconds


class Permanent(Exception):
    """Will not work however often it is tried."""

    def __init__(self, message: str, *, cause: Cause) -> None:
        super().__init__(message)
        self.cause = cause


_CHANGING = re.compile(r"https?://\S+|[0-9a-f]{8,}|[0-9]+(?:\.[0-9]+)?|'[^']*'|\"[^\"]*\"", re.IGNORECASE)


def error_key(text: str) -> str:
    """The text with what changes from job to job (numbers, ids, addresses, quoted values) taken out, to group by."""
    return _CHANGING.sub("…", " ".join(text.split()))[:160]
