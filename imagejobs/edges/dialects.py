"""What the provider answers, made into records: pure, and content with anything.

Two dialects answer a create: Replicate's prediction object, and the image list of proxies that wait for the images
themselves. A field that is missing or of the wrong type is None; a body that is neither is None as a whole, and the
door says what that means for the call at hand. Errors have dialects of their own: `imagejobs.edges.objections`.

Shapes: Replicate's openapi.json (a copy: github.com/tryAGI/Replicate src/libs/Replicate/openapi.json); fields missing
on fresh objects: the recordings in github.com/replicate/replicate-python tests/cassettes; the image list:
github.com/QuantumNous/new-api relay/channel/replicate/adaptor.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from imagejobs.edges.fields import amount, line, read_time, words
from imagejobs.edges.webhooks import AttemptTag, read_tag

FINAL_STATUSES = frozenset({"succeeded", "failed", "canceled", "aborted"})
"""An unknown status is not final: the prediction is looked at again, until the job's own time limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Replicate's record of one run. Times are seconds since the epoch.

    `output` holds addresses or `data:` URIs in the provider's order: None while there is none or once it was removed
    (`data_removed`, an hour after the end: replicate.com/docs/topics/predictions/data-retention), empty when there is
    output without an address in it. `tag` is the attempt that its webhook names, where it has one of ours.
    """

    id: str
    status: str
    output: tuple[str, ...] | None = None
    input: Mapping[str, Any] | None = None
    version: str | None = None
    error: str | None = None
    created_at: float | None = None
    completed_at: float | None = None
    deadline: float | None = None
    predict_time_s: float | None = None
    data_removed: bool = False
    tag: AttemptTag | None = None

    @property
    def is_final(self) -> bool:
        """Whether it will never change again, but for the removal of its data."""
        return self.status in FINAL_STATUSES


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagesAnswer:
    """A proxy's answer to a create: the images themselves, no id, nothing to poll."""

    outputs: tuple[str, ...]
    created_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Up to 100 predictions of the account, newest first; `next_cursor` is None on the last page."""

    predictions: tuple[Prediction, ...]
    next_cursor: str | None = None


def read_prediction(value: Any) -> Prediction | None:
    """A prediction object; None without an id and a status, for then it can be neither polled nor judged."""
    if not isinstance(value, dict):
        return None
    prediction_id, status = _id(value.get("id")), line(value.get("status"))
    if not prediction_id or not status:
        return None
    metrics = value.get("metrics")
    given = value.get("input")
    return Prediction(
        id=prediction_id,
        status=status.lower(),
        output=_addresses(value.get("output")),
        input=given if isinstance(given, dict) else None,
        version=line(value.get("version")),
        error=words(value.get("error")),
        created_at=read_time(value.get("created_at")),
        completed_at=read_time(value.get("completed_at")),
        deadline=read_time(value.get("deadline")),
        predict_time_s=amount(metrics.get("predict_time")) if isinstance(metrics, dict) else None,
        data_removed=value.get("data_removed") is True,
        tag=read_tag(value.get("webhook")),
    )


def read_created(value: Any) -> Prediction | ImagesAnswer | None:
    """The answer to a create, in either dialect; None when it is neither."""
    return read_prediction(value) or _read_images(value)


def _read_images(value: Any) -> ImagesAnswer | None:
    items = value.get("data") if isinstance(value, dict) else None
    if not isinstance(items, list):
        return None
    outputs = tuple(address for item in items if (address := _image_address(item)))
    if items and not outputs:
        return None
    return ImagesAnswer(outputs=outputs, created_at=read_time(value.get("created")))


def _image_address(item: Any) -> str | None:
    if not isinstance(item, dict):
        return None
    encoded = line("".join(str(item.get("b64_json") or "").split()))  # some encoders break their lines
    if encoded and not encoded.startswith("data:"):
        encoded = f"data:image/png;base64,{encoded}"  # the type is a guess: whoever fetches it looks at the bytes
    return line(item.get("url")) or encoded


def read_page(value: Any) -> Page | None:
    """One page of the list; None when any part of it is unreadable.

    A prediction overlooked here would count as "not in the list", and be paid for again: so all of it or nothing.
    """
    if not isinstance(value, dict) or not isinstance(value.get("results"), list):
        return None
    predictions = [read_prediction(item) for item in value["results"]]
    found = tuple(prediction for prediction in predictions if prediction)
    address = value.get("next")
    cursor = _cursor(address)
    if len(found) < len(predictions) or (address and not cursor):
        return None
    return Page(predictions=found, next_cursor=cursor)


def _cursor(address: Any) -> str | None:
    """The cursor in `next`; the address itself is never followed: behind a proxy it points at api.replicate.com."""
    try:
        return parse_qs(urlsplit(address).query)["cursor"][0] if isinstance(address, str) else None
    except (ValueError, KeyError):
        return None


def read_schema(value: Any) -> dict[str, Any] | None:
    """The JSON schema of a version's `input`, with the components it refers to; None when the reply has none."""
    for key in ("openapi_schema", "components", "schemas"):
        value = value.get(key) if isinstance(value, dict) else None
    schema = value.get("Input") if isinstance(value, dict) else None
    return {**schema, "components": {"schemas": value}} if isinstance(schema, dict) else None


_ID = re.compile(r"(?=.*[A-Za-z0-9])[!-~]{1,200}")
"""Anything but a path of dots; it is quoted before it becomes part of an address."""


def _id(value: Any) -> str | None:
    return value if isinstance(value, str) and _ID.fullmatch(value) else None


def _addresses(value: Any) -> tuple[str, ...] | None:
    """The addresses in an output, which may be any JSON."""
    if value is None:
        return None
    items = value if isinstance(value, list) else [value]
    found = (line(item.get("url")) if isinstance(item, dict) else line(item) for item in items)
    return tuple(address for address in found if address)


_NUMBERED = re.compile(r"(?:^|/)out-(\d{1,3})\.[a-z]+$")


def indexes_of(output: Sequence[str]) -> list[int]:
    """The provider's own index of each output, read from names such as `out-2.png`; else its place in the list.

    Stable Diffusion drops a flagged image silently, and the names of the others keep their number
    (https://github.com/replicate/cog-stable-diffusion/blob/main/predict.py).
    """
    numbers = [number for number in map(_number, output) if number is not None]
    return numbers if len(set(numbers)) == len(output) else list(range(len(output)))


def are_numbered(output: Sequence[str]) -> bool:
    """Whether every output's name has the provider's own index, so that a gap means one that was withheld."""
    return all(_number(address) is not None for address in output)


def _number(address: str) -> int | None:
    if address.startswith("data:"):
        return None
    try:
        found = _NUMBERED.search(urlsplit(address).path)
    except ValueError:  # no address at all: whoever fetches it says so
        return None
    return int(found[1]) if found else None
