"""The input of stability-ai/stable-diffusion (2.1), version ac732df8…77e4, with the traps its own schema leaves open.

The fields, ranges and defaults are those of its source (github.com/replicate/cog-stable-diffusion, predict.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from imagejobs.errors import BadInput, Fault
from imagejobs.models.check import SEEDS
from imagejobs.models.wording import expected, kind, shown
from imagejobs.settings import DEFAULT_VERSION

VERSION_ID = DEFAULT_VERSION.partition(":")[2]
MAX_PIXELS = 1024 * 768  # checked inside predict(), after the bill has begun: 13 of the 169 legal pairs fail there
PROMPT_CHARACTERS = 10_000  # the model reads its first 77 tokens; far beyond that, it is a file gone astray
EXACT_SEEDS = 2**53 - 1  # larger whole numbers are rounded by JSON readers that know doubles only

# Not every multiple of 64: the model's list leaves out 192 and 320.
Side = Literal[128, 256, 384, 448, 512, 576, 640, 704, 768, 832, 896, 960, 1024]
Scheduler = Literal["DDIM", "K_EULER", "DPMSolverMultistep", "K_EULER_ANCESTRAL", "PNDM", "KLMS"]
SIDES: tuple[int, ...] = get_args(Side)


class StableDiffusionInput(BaseModel):
    """One input object, complete: what is left out is the model's own default, except that the seed is always given."""

    model_config = ConfigDict(strict=True)

    prompt: str = Field("a photo of an astronaut riding a horse on mars", max_length=PROMPT_CHARACTERS)
    negative_prompt: str | None = Field(None, max_length=PROMPT_CHARACTERS)
    width: Side = 768
    height: Side = 768
    num_outputs: int = Field(1, ge=1, le=4)
    num_inference_steps: int = Field(50, ge=1, le=500)
    guidance_scale: float = Field(7.5, ge=1, le=20)
    scheduler: Scheduler = "DPMSolverMultistep"
    seed: int = Field(ge=0, le=EXACT_SEEDS)


_PROPERTIES: dict[str, dict[str, Any]] = StableDiffusionInput.model_json_schema()["properties"]


class StableDiffusion:
    """The check for this version, at some microseconds a row."""

    kinds: Mapping[str, str] = {name: kind(schema) for name, schema in _PROPERTIES.items()}
    seeds = SEEDS

    def __call__(self, given: Mapping[str, Any], *, line: int) -> dict[str, Any]:
        """The input with defaults. A negative prompt that nobody gave is left out: the model's schema takes no null."""
        try:
            accepted = vars(StableDiffusionInput.model_validate(given))
        except ValidationError as error:
            raise BadInput(_faults(error, line)) from None
        width, height = accepted["width"], accepted["height"]
        if width * height > MAX_PIXELS:
            raise BadInput([Fault(line, "width", _too_large(width, height))])
        if accepted["negative_prompt"] is None:
            del accepted["negative_prompt"]
        return accepted


def _faults(error: ValidationError, line: int) -> list[Fault]:
    wrong = {str(fault["loc"][0]): fault["input"] for fault in error.errors(include_url=False)}
    return [
        Fault(line, name, f"must be {expected(_PROPERTIES[name])}, not {shown(value)}") for name, value in wrong.items()
    ]


def _too_large(width: int, height: int) -> str:
    """Names the largest sizes that fit: of the same width, of the same height, of the same shape."""
    fitting = [(w, h) for w in SIDES for h in SIDES if w * h <= MAX_PIXELS]
    shapes = (
        [(w, h) for w, h in fitting if w == width],
        [(w, h) for w, h in fitting if h == height],
        [(w, h) for w, h in fitting if w * height == h * width],
    )
    best = dict.fromkeys(max(shape) for shape in shapes if shape)
    choices = ", ".join(f"{w} x {h}" for w, h in best)
    return f"{width} x {height} is {width * height} pixels, the model takes {MAX_PIXELS} at most: {choices} fit"
