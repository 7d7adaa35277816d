"""The one place that expects the unexpected: a fault of our own becomes an outcome, logged with its trace."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from worker.outcomes import Outcome

log = structlog.get_logger("imagejobs.stages")


def guarded(stage: Callable[[], Outcome], *, otherwise: Callable[[str], Outcome]) -> Outcome:
    """The stage's outcome; `otherwise` says what is safe when the stage itself breaks.

    Without it one odd job would be tried for ever, or hold up the sweep of all others.
    """
    try:
        return stage()
    except Exception as error:
        log.exception("stage_broke")
        return otherwise(f"a fault of imagejobs itself: {type(error).__name__}")
