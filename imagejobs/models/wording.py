"""How a fault reads: what was given, cut to a glance, and what would have been right, out of the schema itself.

Every message says `must be <expected>, not <shown>`, so that a row is mended without opening the documentation.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any

SHOWN_CHARACTERS = 60  # enough to recognise a value by, few enough for a line of its own
_NAME_CHARACTERS = 64  # beyond this nobody mistyped a name; looking for a likeness would only cost time

_NOUNS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
}

_BOUNDS = {
    "minimum": "of at least",
    "exclusiveMinimum": "above",
    "maximum": "of at most",
    "exclusiveMaximum": "below",
}


def shown(value: Any) -> str:
    """The value as JSON in one line of at most some 60 characters; a longer text also tells its length.

    It can be printed on any terminal without effect: control characters and half characters are escaped.
    """
    text = json.dumps(value, ensure_ascii=False)
    if len(text) <= SHOWN_CHARACTERS:
        return _printable(text)
    length = f" ({len(value)} characters)" if isinstance(value, str) else ""
    return f"{_printable(text[: SHOWN_CHARACTERS - 1])}…{length}"


def shown_key(name: str) -> str:
    """A key likewise, without the quotes."""
    return shown(name).strip('"')


def _printable(text: str) -> str:
    return "".join(one if one.isprintable() else f"\\u{ord(one):04x}" for one in text)


def unknown_key(name: str, known: Iterable[str]) -> str:
    """The message for a key that nobody reads: the nearest known one, or else all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1) if len(name) <= _NAME_CHARACTERS else []
    if near:
        return f'unknown key; did you mean "{near[0]}"?'
    return f"unknown key; known are {', '.join(names)}"


def expected(schema: Mapping[str, Any]) -> str:
    """What a property's JSON schema asks for, in words: `a whole number from 1 to 4`."""
    if "enum" in schema:
        return "one of " + ", ".join(str(choice) for choice in schema["enum"])
    branches = [branch for branch in alternatives(schema) if kind(branch) != "null"]
    if branches:
        return " or ".join(dict.fromkeys(expected(branch) for branch in branches))
    noun = _NOUNS.get(kind(schema), "something else")
    return noun + _length(schema) + _bounds(schema)


def kind(schema: Mapping[str, Any]) -> str:
    """The JSON type that a property takes: of several the first that is not null, `` when the schema names none."""
    declared = schema.get("type")
    if isinstance(declared, str):
        return declared
    if isinstance(declared, list):
        kinds = [one for one in declared if isinstance(one, str)]
    else:
        kinds = [kind(branch) for branch in alternatives(schema)]
    return next((one for one in kinds if one != "null"), "")


def alternatives(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The branches of a schema that offers several."""
    branches = schema.get("anyOf") or schema.get("oneOf") or []
    return [branch for branch in branches if isinstance(branch, Mapping)]


def _length(schema: Mapping[str, Any]) -> str:
    if "maxLength" in schema:
        return f" of at most {schema['maxLength']} characters"
    return f" of at least {schema['minLength']} characters" if "minLength" in schema else ""


def _bounds(schema: Mapping[str, Any]) -> str:
    given = {name: word for name, word in _BOUNDS.items() if schema.get(name) is not None}
    if {"minimum", "maximum"} <= given.keys():
        return f" from {schema['minimum']} to {schema['maximum']}"
    return "".join(f" {word} {schema[name]}" for name, word in given.items())
