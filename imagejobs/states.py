"""The states of a job and the transitions between them: the one table that ledger, docs and tests obey."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a job stands. Counts over these seven always sum to the batch's total."""

    QUEUED = "queued"  # accepted, not paid; `due_at` holds back-off or a time window
    SUBMITTING = "submitting"  # intent committed; the reply to the create may be lost
    RUNNING = "running"  # the prediction's id is known
    STORING = "storing"  # outputs exist at the provider, and their clock is running
    SUCCEEDED = "succeeded"  # every image asked for is in the bucket, verified
    FAILED = "failed"  # given up, with a cause; only an explicit retry leaves it
    CANCELED = "canceled"  # given up on request; only an explicit retry leaves it


TRANSITIONS: dict[State, dict[State, str]] = {
    State.QUEUED: {
        State.SUBMITTING: "claimed: intent is committed, the POST follows",
        State.CANCELED: "canceled before anything was paid",
        State.FAILED: "never sent: bad input found late",
    },
    State.SUBMITTING: {
        State.RUNNING: "accepted, or found in the provider's list",
        State.STORING: "answered at once with images",
        State.QUEUED: "refused, or proven absent",
        State.FAILED: "refused for good, or unknown and held",
        State.CANCELED: "canceled before it was accepted",
    },
    State.RUNNING: {
        State.STORING: "finished at the provider",
        State.QUEUED: "generate again (paid, counted)",
        State.FAILED: "failed for good at the provider",
        State.CANCELED: "canceled at the provider on request",
    },
    State.STORING: {
        State.SUCCEEDED: "every image verified in the bucket",
        State.QUEUED: "expired before copied: generate again (paid, counted)",
        State.FAILED: "output short, withheld, or never fetched",
    },
    State.SUCCEEDED: {},
    State.FAILED: {
        State.QUEUED: "retry: generate again",
        State.STORING: "retry: copy again",
    },
    State.CANCELED: {
        State.QUEUED: "retry: generate again",
        State.STORING: "retry: copy again",
    },
}

FINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELED})
LIVE = frozenset(State) - FINAL


def is_allowed(source: State, target: State) -> bool:
    """Whether the table has this transition."""
    return target in TRANSITIONS[source]
