"""Mutants of real JSON: what is right, with a few things changed as a careless or hostile sender might.

Structure is kept, so that a mutant gets past the first look: types, depths, names, numbers and texts change inside it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

_DEEP = "\x01deep\x01"  # stands for a nest that no JSON writer would write
_ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 0.5, 2**31, 2**63, -(2**70), 10**400, 1e308, float("nan"), float("inf")),
    *("", " ", "\0", "\ud800", "a\ud800b", "\x1b[2J", "\u202e", "é" * 300, "x" * 70_000, "null", "1e999", "[", "%00"),
    *([], {}, [[]], {"": ""}, [None] * 50, {"a": {"b": {"c": None}}}),
    *("../..", "https://[h/out-0.png", "https://h:99999999/", "data:", "file:///etc/passwd", _DEEP),
)
TEXTS = st.text(st.characters(exclude_categories=[]), max_size=30)  # half characters too
JUNK = st.recursive(
    st.sampled_from(_ODD) | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def mutants(draw: st.DrawFn, samples: Sequence[Any], most: int = 4) -> Any:
    """One of the samples with up to `most` changes."""
    value = deepcopy(draw(st.sampled_from(samples)))
    for _ in range(draw(st.integers(0, most))):
        value = _mutate(draw, value)
    return value


def bodies(samples: Sequence[Any], most: int = 4) -> st.SearchStrategy[bytes]:
    """A mutant as the bytes of a body, which may be cut or garbled on their way."""
    return st.builds(_garble, mutants(samples, most), st.sampled_from(_WAYS), st.integers(0, 10**6))


def written(value: Any) -> bytes:
    """As JSON, with what only a careless writer lets through: NaN, half characters, nests without end."""
    text = json.dumps(value, ensure_ascii=True)
    return text.replace(json.dumps(_DEEP), "[" * 950 + "]" * 950).encode()


def _garble(value: Any, way: Callable[[bytes, int], bytes], number: int) -> bytes:
    return way(written(value), number)


def _as_it_is(body: bytes, _number: int) -> bytes:
    return body


def _cut(body: bytes, number: int) -> bytes:
    return body[: number % (len(body) + 1)]


def _one_byte(body: bytes, number: int) -> bytes:
    place = number % max(1, len(body))
    return body[:place] + bytes([number % 256]) + body[place + 1 :]


def _wide(body: bytes, _number: int) -> bytes:
    return body.decode("utf-8", "replace").encode("utf-16")


def _twice(body: bytes, _number: int) -> bytes:
    return body + body


_WAYS = (_as_it_is, _as_it_is, _as_it_is, _as_it_is, _cut, _one_byte, _wide, _twice)


def _mutate(draw: st.DrawFn, value: Any) -> Any:
    places = list(_places(value))
    if not places:
        return deepcopy(draw(JUNK))
    holder, key = draw(st.sampled_from(places))
    match draw(st.sampled_from(("junk", "junk", "odd", "gone", "wrapped", "moved", "renamed", "doubled"))):
        case "junk":
            holder[key] = deepcopy(draw(JUNK))
        case "odd":
            holder[key] = deepcopy(draw(st.sampled_from(_ODD)))
        case "gone":
            del holder[key]
        case "wrapped":
            holder[key] = draw(st.sampled_from(([holder[key]], {"url": holder[key]}, {"error": holder[key]})))
        case "moved":
            other, name = draw(st.sampled_from(places))
            holder[key] = deepcopy(other[name])
        case "renamed" if isinstance(holder, dict):
            holder[draw(TEXTS)] = holder.pop(key)
        case _:
            holder[key] = [deepcopy(holder[key]), deepcopy(holder[key])]
    return value


def _places(value: Any) -> Any:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])
