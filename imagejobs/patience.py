"""A second try, and a third, for calls to the store that cost nothing to repeat, where nobody else would try again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from imagejobs.errors import Transient

_WAITS_SECONDS = (0.5, 1.0, 2.0, 4.0)  # enough for a store that refuses every fifth call, not for one that is down

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Patience:
    """Tries a call again while it raises Transient, for some seconds; then raises that."""

    sleep: Callable[[float], None] = time.sleep

    def __call__(self, call: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        for wait_seconds in _WAITS_SECONDS:
            try:
                return call(*args, **kwargs)
            except Transient:
                self.sleep(wait_seconds)
        return call(*args, **kwargs)


PATIENT = Patience()
