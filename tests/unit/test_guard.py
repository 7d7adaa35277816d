"""The stage wrapper: a fault of our own becomes an outcome."""

from __future__ import annotations

from worker.outcomes import Unknown, Wait
from worker.stages.guard import guarded


def test_an_outcome_passes_through():
    """The wrapper is not there when all is well."""
    assert Wait(after_seconds=1.0) == guarded(
        lambda: Wait(after_seconds=1.0), otherwise=lambda error: Unknown(error=error)
    )


def test_a_broken_stage_ends_as_what_is_safe_and_names_the_fault():
    """The type, not the text: an exception's text may hold anything."""

    def broken() -> Wait:
        raise KeyError("r8_secret")

    expected = Unknown(error="a fault of imagejobs itself: KeyError")
    assert expected == guarded(broken, otherwise=lambda error: Unknown(error=error))
