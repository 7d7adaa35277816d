"""What every model's check looks like, and the one for models of which nothing is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

SEEDS = range(2**31)  # what every sampler takes, 32-bit signed ones too


class InputCheck(Protocol):
    """Judges one input object of one model version.

    `kinds` has the JSON type of every input the model knows, by name; none when nobody can say which it knows.
    `seeds` are those a derived seed is taken from; none when the model has no `seed` input.
    """

    @property
    def kinds(self) -> Mapping[str, str] | None: ...

    @property
    def seeds(self) -> range | None: ...

    def __call__(self, given: Mapping[str, Any], *, line: int) -> dict[str, Any]:
        """The input with the model's defaults written in. Raises BadInput with every field that is wrong.

        `given` has known names only, no nulls, and a seed where the model takes one: the caller saw to that.
        """


class Unchecked:
    """Takes any input as it is, and adds nothing: a key the model may not know could make the provider refuse it.

    So there is no derived seed either. Two such rows with the same input are the same wish, and it does no harm
    when a lost reply is looked up and the one's prediction is found for the other.
    """

    kinds = None
    seeds = None

    def __call__(self, given: Mapping[str, Any], *, line: int) -> dict[str, Any]:  # noqa: ARG002 - nothing to blame
        """A copy of what was given."""
        return dict(given)
