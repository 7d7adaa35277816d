"""Unknown outcomes: creates whose reply was lost are looked up in the provider's list, in bulk, and never guessed.

One pass over the list resolves all that are due, however many. A create is adopted when the list shows a prediction of
exactly its version and input that belongs to no attempt; it is sent again only when it is proven absent. Where creates
name their attempt to the provider (webhooks), that is a second proof: a prediction that names another job is not ours,
and one that names this job is, even when its input is gone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from imagejobs.edges.dialects import Prediction
from imagejobs.errors import Cause, Refused
from imagejobs.job import Job, canonical_json
from worker.outcomes import Absent, Accepted, GiveUp, Outcome

UNREAD_SECONDS, REFUSED_SECONDS = 3600.0, 86_400.0
BEFORE_SECONDS, AFTER_SECONDS = 60.0, 180.0  # around an intent, where a prediction of unreadable input may be its own


def resolve(
    jobs: Sequence[Job], predictions: Iterable[Prediction], known: set[str], *, now: float
) -> list[tuple[Job, Outcome]]:
    """Decide for each job from the complete list since before the first intent. Pure.

    `known` are the predictions that belong to an attempt already. Twins (equal version and input) are told apart by
    count: as many are adopted as there are predictions, the newest by the newest intents (`jobs` come oldest first):
    one too many is of an attempt before, and its outputs die first. Where a prediction that lost its input (an hour
    old) may be the job's own, the job is given up as unknown: only a person can tell.
    """
    orphans = [one for one in predictions if one.id not in known]
    by_input: dict[str, list[Prediction]] = defaultdict(list)
    for one in sorted(orphans, key=lambda prediction: prediction.created_at or 0.0, reverse=True):
        by_input[fingerprint(one.version, one.input)].append(one)
    unreadable = [one for one in orphans if not one.input]
    decided = [(job, _decide(job, by_input, unreadable, now)) for job in reversed(jobs)]
    return decided[::-1]


def unread(job: Job, *, error: Exception, since: float, now: float) -> GiveUp | None:
    """What becomes of one that was not found while the list could not be read to its end, each time `since`.

    None: it waits on. After an hour the list would show no inputs of that time any more, could it be read. A refused
    account is for its owner to mend, and may be refused falsely, for hours: for that a day is waited.
    """
    longest = REFUSED_SECONDS if isinstance(error, Refused) else UNREAD_SECONDS
    if now < max(since, job.intent_at or 0.0) + longest:
        return None
    said = "the create's reply was lost, and ever since the provider's list could not be read"
    return GiveUp(cause=Cause.UNKNOWN_OUTCOME, error=f"{said}: {error}")


def _decide(
    job: Job, by_input: Mapping[str, list[Prediction]], unreadable: Sequence[Prediction], now: float
) -> Outcome:
    for version in (job.version, None):  # list items have been seen without their version
        if (found := _pick(job, by_input.get(fingerprint(version, job.input), []))) is not None:
            return Accepted(prediction_id=found.id, at=found.created_at or now)
    for one in unreadable:
        if one.tag is not None and one.tag.is_of(job):
            return Accepted(prediction_id=one.id, at=one.created_at or now)
    if any(one.tag is None and _may_be_of(job, one) for one in unreadable):
        return GiveUp(
            cause=Cause.UNKNOWN_OUTCOME,
            error="the create's reply was lost, and the provider's list no longer shows the inputs of that time",
        )
    return Absent(
        error="the create's reply was lost; the provider's list shows that it was not accepted", is_proven=True
    )


def _pick(job: Job, twins: list[Prediction]) -> Prediction | None:
    """Take the newest of these, which are alike, out of the list: one that names this job, else one that names none."""
    named = [one for one in twins if one.tag is not None and one.tag.is_of(job)]
    found = next(iter([*named, *(one for one in twins if one.tag is None)]), None)
    if found is not None:
        twins.remove(found)
    return found


def _may_be_of(job: Job, prediction: Prediction) -> bool:
    age = (prediction.created_at or 0.0) - (job.intent_at or 0.0)
    return -BEFORE_SECONDS <= age <= AFTER_SECONDS


def fingerprint(version: str | None, given: Mapping[str, Any] | None) -> str:
    """What makes two creates the same: the version's own hash, and the input with numbers written one way."""
    inputs = {name: _plain(value) for name, value in (given or {}).items()}
    try:
        return canonical_json([version.rpartition(":")[2] if version else None, inputs])
    except RecursionError:
        return ""  # nested deeper than any row of ours can be: somebody else's


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value
