"""The calls that cost nothing, within the account's allowance of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

import structlog

from imagejobs.edges.dialects import Page
from imagejobs.errors import Permanent, Refused, Throttled, Transient
from imagejobs.queues import BROKER_ERRORS
from worker.services import Services

AHEAD_SECONDS = 2.0  # a place farther off than this is left to the next sweep

Returned = TypeVar("Returned")

log = structlog.get_logger("imagejobs.calls")


class Calls:
    """Looks and cancels: each waits for its place, and none is worth waiting long for."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def may_call(self) -> bool:
        """Wait for a place in the allowance. False when there is none soon."""
        grant = self._services.calls.reserve(1, ahead_seconds=AHEAD_SECONDS)
        self._services.clock.sleep(grant.after_seconds if grant.places else 0.0)
        return grant.places == 1

    def pages(self, since: float, *, has_place: Callable[[], bool]) -> Iterator[Page]:
        """The list's pages since a moment of our clock, the newest first, for as long as the allowance `has_place`.

        Raises what the provider does (of a 429 the whole fleet hears), and Transient where a page shows again what
        those before it showed: it would go on for ever. Positions never move, so a proper page shows none of it.
        """
        cursor, seen = None, set[str]()
        while has_place():
            page = self._heard(partial(self._services.provider.list, created_after=since, cursor=cursor))
            ids = {one.id for one in page.predictions}
            if cursor and 2 * len(ids - seen) < len(ids):
                raise Transient("the provider's list shows the same predictions again on its next page")
            seen |= ids
            yield page
            if page.next_cursor is None or (page.next_cursor == cursor and not ids):
                return
            cursor = page.next_cursor

    def _heard(self, call: Callable[[], Returned]) -> Returned:
        """What the call returns. Of a 429 the whole fleet hears before it is raised."""
        try:
            return call()
        except Throttled as error:
            self.throttled(error)
            raise

    def throttled(self, error: Throttled) -> float:
        """A 429: the whole fleet hears of it. Returns for how many seconds the allowance is closed."""
        return self._services.calls.throttled(error.after_seconds)

    def cancel(self, prediction_id: str) -> None:
        """Ask the provider to end a prediction. What comes of that is read at the next look."""
        try:
            if not self.may_call():
                return
            self._heard(partial(self._services.provider.cancel, prediction_id))
            log.info("cancel_asked", prediction_id=prediction_id)
        except (Transient, Throttled, Refused, Permanent, *BROKER_ERRORS) as error:
            log.warning("cancel_failed", prediction_id=prediction_id, error=str(error))
