"""When a command that watches a batch may go: decided from what was seen of it, without looking at any clock."""

from __future__ import annotations

from imagejobs.job import Batch
from imagejobs.states import State
from producer.facts import PAUSED, exit_code, in_flight

_ACCEPTED = (State.RUNNING, State.STORING, State.SUCCEEDED)


class Vigil:
    """Watches one batch. A pause ends it once patience is over; without hope, as soon as nothing is in flight.

    A pause mostly ends by itself: one job is tried every few minutes. There is no hope where the provider has not
    accepted anything of the batch yet (a wrong token stays wrong), and where a person had paused it before we came.
    """

    def __init__(self, *, patience_seconds: float) -> None:
        self._patience_seconds = patience_seconds
        self._paused_since: float | None = None
        self._was_accepted = False
        self._found_paused: bool | None = None

    def verdict(self, batch: Batch, *, now: float) -> int | None:
        """The exit code when it is over; none while it goes on. `now` is of a steady clock."""
        self._was_accepted |= batch.images > 0 or any(batch.counts[state] for state in _ACCEPTED)
        if self._found_paused is None:
            self._found_paused = batch.paused_kind == "user"
        if batch.is_done:
            return exit_code(batch)
        if batch.paused is None:
            self._paused_since = None
            self._found_paused = False
            return None
        if self._paused_since is None:
            self._paused_since = now
        is_vain = self._is_hopeless and not in_flight(batch)
        return PAUSED if is_vain or now - self._paused_since >= self._patience_seconds else None

    @property
    def _is_hopeless(self) -> bool:
        return bool(self._found_paused) or not self._was_accepted
