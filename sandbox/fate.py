"""What becomes of an accepted order: pictures or a failure, and how long it takes. Chance comes in as an argument."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sandbox.faults import Struck
from sandbox.models import Model
from sandbox.predictions import NS, Fate, prompt_in

# Checked by the model itself, after its schema let the sizes through, so it costs a run. Texts as the model has them.
MOST_PIXELS = 786_432
TOO_LARGE = (
    "Maximum size is 1024x768 or 768x1024 pixels, because of memory limits. Please select a lower width or height."
)
UNSAFE = "NSFW content detected. Try running it again, or try a different prompt."
SPREAD = 0.25  # standard deviation of the logarithm of run times
WARM_SECONDS = 300  # an idle model is shut down after so long


def fate_of(model: Model, given: Mapping[str, Any], seed: int, *, unsafe_word: str) -> Fate:
    """The ending that prompt, sizes and seed lead to: the same again for the same seed, as with a safety filter."""
    filled = model.filled(given)
    if filled.get("width", 0) * filled.get("height", 0) > MOST_PIXELS:
        return Fate(error=TOO_LARGE)
    indexes = tuple(range(filled.get("num_outputs", 1)))
    prompt = prompt_in(filled)
    kept = indexes
    if unsafe_word and f"{unsafe_word}-some" in prompt:
        kept = _spared(indexes, random.Random(f"filter:{prompt}:{seed}"))
    elif unsafe_word and unsafe_word in prompt:
        kept = ()
    return Fate(images=kept) if kept else Fate(error=UNSAFE)


def _spared(indexes: tuple[int, ...], dice: random.Random) -> tuple[int, ...]:
    """Of several pictures at least one is flagged and one is not; a single one goes either way."""
    if len(indexes) == 1:
        return indexes if dice.random() < 0.5 else ()
    flagged, spared = dice.sample(indexes, 2)
    return tuple(i for i in indexes if i == spared or (i != flagged and dice.random() < 0.5))


def bent(fate: Fate, struck: Struck) -> Fate:
    """The fate after the fault rules that struck this create."""
    if "fail" in struck:
        return Fate(error=struck["fail"]["error"])
    output = fate.output
    for kind, style in (("data_uri", "data"), ("null_output", "null"), ("data_removed", "removed")):
        output = style if kind in struck else output
    odd = struck.get("unknown_status", {})
    return replace(
        fate,
        images=fate.images[: struck["partial"]["keep"]] if "partial" in struck else fate.images,
        output=output,
        output_url=struck.get("output_url", {}).get("url"),
        odd_status=odd.get("status"),
        never_ends=odd.get("for_ever", False),
    )


def run_seconds(median_seconds: float, *, prompt: str, seed: int) -> float:
    """Log-normal around the median, the same for the same prompt and seed."""
    return median_seconds * math.exp(random.Random(f"run:{prompt}:{seed}").gauss(0, SPREAD))


@dataclass(slots=True)
class _Boot:
    ready_ns: int
    used_ns: int


class Boots:
    """Which models are warm: the first run of an idle one waits for its boot, and those behind it wait as well."""

    def __init__(self, cold_start_seconds: float) -> None:
        self._cold_ns = int(cold_start_seconds * NS)
        self._boots: dict[str, _Boot] = {}

    def ready_ns(self, model: str, now_ns: int) -> int:
        """When the model can start a run asked for now; counts as its use."""
        boot = self._boots.get(model)
        if boot is None or now_ns - max(boot.used_ns, boot.ready_ns) > WARM_SECONDS * NS:
            boot = self._boots[model] = _Boot(ready_ns=now_ns + self._cold_ns, used_ns=now_ns)
        boot.used_ns = now_ns
        return max(now_ns, boot.ready_ns)
