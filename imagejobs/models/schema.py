"""The check for any other model, made from the JSON schema that the provider publishes with each version.

Cog, which packages the provider's models, keeps a choice's values in a component of its own and refers to it
(github.com/replicate/cog, docs/http.md); `without_references` makes one plain schema of it, which can be kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from referencing import Registry
from referencing.exceptions import Unresolvable

from imagejobs.errors import BadInput, BadSetting, Fault
from imagejobs.models.check import SEEDS
from imagejobs.models.wording import alternatives, expected, kind, shown, shown_key

_DEPTH = 32  # a schema that refers to itself never ends; real ones are a dozen deep
_MOST_NODES = 20_000  # references to references multiply; the largest real schema has some hundred parts
_MOST_FAULTS = 20  # of one row: a list of a thousand wrong items is as clear by the first
_MESSAGE_CHARACTERS = 160  # the library's own texts repeat the value, which may be long
_WORDED = {"type", "enum", "anyOf", "oneOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
_WORDED |= {"minLength", "maxLength"}


def without_references(schema: Mapping[str, Any]) -> dict[str, Any]:
    """An input's schema with every reference replaced by what it refers to in the schema's own `components`.

    Raises BadSetting when it refers to something outside, missing, or to itself, or describes no object.
    """
    own = {name: value for name, value in schema.items() if name != "components"}
    try:
        plain = _inline(own, schema, depth=0, left=iter(range(_MOST_NODES)))
        json.dumps(plain, ensure_ascii=False, allow_nan=False).encode()
    except (KeyError, TypeError) as error:
        raise BadSetting(f"the model's schema refers to what it lacks: {str(error)[:200]}") from None
    except ValueError:
        raise BadSetting("the model's schema has numbers or texts in it that JSON cannot hold") from None
    if not isinstance(plain, dict) or not isinstance(plain.get("properties"), dict):
        raise BadSetting("the model's schema does not describe an input object")
    return plain


def _inline(node: Any, document: Mapping[str, Any], *, depth: int, left: Iterator[int]) -> Any:
    if depth > _DEPTH:
        raise BadSetting("the model's schema refers to itself")
    if next(left, None) is None:
        raise BadSetting(f"the model's schema unfolds to more than {_MOST_NODES} parts")
    inline = partial(_inline, document=document, depth=depth + 1, left=left)
    if isinstance(node, list):
        return [inline(item) for item in node]
    if not isinstance(node, dict):
        return node
    plain = {name: inline(value) for name, value in node.items() if name != "$ref"}
    if isinstance(node.get("$ref"), str):
        return {**inline(_component(node["$ref"], document)), **plain}
    if isinstance(plain.get("allOf"), list) and len(plain["allOf"]) == 1:  # how Cog writes a choice with a default
        return {**plain.pop("allOf")[0], **plain}
    return plain


def _component(reference: str, document: Mapping[str, Any]) -> Any:
    path = reference.split("/")
    if path[0] != "#":
        raise BadSetting(f"the model's schema refers to {shown(reference)}, outside itself")
    found: Any = document
    for name in path[1:]:
        found = found[name]
    return found


class JsonSchema:
    """The check by a plain input schema, compiled once. Raises BadSetting when it is no JSON schema."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        try:
            Draft202012Validator.check_schema(schema)
        except SchemaError as error:
            raise BadSetting(f"the model's schema is not a JSON schema: {error.message[:200]}") from None
        properties = {name: spec for name, spec in schema["properties"].items() if isinstance(spec, dict)}
        # An empty registry: no reference is ever looked up on the network.
        self._validator = Draft202012Validator({**schema, "properties": properties}, registry=Registry())
        self._defaults = {name: spec["default"] for name, spec in properties.items() if spec.get("default") is not None}
        self.kinds: Mapping[str, str] | None = {name: kind(spec) for name, spec in properties.items()}
        self.seeds = _seeds(properties.get("seed", {}))

    def __call__(self, given: Mapping[str, Any], *, line: int) -> dict[str, Any]:
        """The input with the schema's defaults written in; defaults themselves are the model's own affair."""
        try:
            faults = [_fault(error, line) for error in islice(self._validator.iter_errors(given), _MOST_FAULTS)]
        except Unresolvable as error:
            raise BadSetting(f"the model's schema cannot be read: {error}") from None
        if faults:
            raise BadInput(faults)
        return {**self._defaults, **given}


def _seeds(schema: Mapping[str, Any]) -> range | None:
    """Those seeds every sampler takes which the schema allows too."""
    whole = next((branch for branch in (schema, *alternatives(schema)) if branch.get("type") == "integer"), None)
    if whole is None:
        return None
    low, high = whole.get("minimum"), whole.get("maximum")
    start = SEEDS.start if low is None else max(SEEDS.start, int(low))
    stop = SEEDS.stop if high is None else min(SEEDS.stop, int(high) + 1)
    return range(start, stop) or None


def _fault(error: ValidationError, line: int) -> Fault:
    field = ".".join(shown_key(str(part)) for part in error.absolute_path)
    if error.validator in _WORDED and isinstance(error.schema, Mapping):
        return Fault(line, field, f"must be {expected(error.schema)}, not {shown(error.instance)}")
    brief = error.message if len(error.message) <= _MESSAGE_CHARACTERS else f"breaks the rule {error.validator}"
    return Fault(line, field, brief)
