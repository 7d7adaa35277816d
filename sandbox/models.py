"""The models that can be run: their published schemas, read from JSON, and what those say about an input."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, ValidationError

from sandbox.refusals import InvalidField

HIDDEN = "hidden"  # what official models show in place of a version


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model with its one version. `draws` names the style of its pictures; official ones need no version."""

    owner: str
    name: str
    description: str
    official: bool
    draws: str
    version: Mapping[str, Any]
    defaults: Mapping[str, Any]
    validator: Draft202012Validator

    @property
    def full_name(self) -> str:
        return f"{self.owner}/{self.name}"

    @property
    def version_id(self) -> str:
        return str(self.version["id"])

    @property
    def one_output(self) -> bool:
        """Whether `output` is one address rather than a list of them."""
        return bool(self.version["openapi_schema"]["components"]["schemas"]["Output"]["type"] == "string")

    def filled(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The input with the defaults of what was left out; 2.0 is a whole number in JSON, so it is one here."""
        whole = {key: int(value) for key, value in given.items() if isinstance(value, float) and value.is_integer()}
        return {**self.defaults, **given, **whole}

    def faults_in(self, given: object) -> list[InvalidField]:
        """Everything wrong with an input; unknown keys inside it are let through, as the vendor always has."""
        return [field for error in self.validator.iter_errors(given) for field in _in_vendor_words(error)]


class Catalog:
    """All models, by each name a caller may use."""

    def __init__(self, models: list[Model], deployments: Mapping[str, Model]) -> None:
        self._by_name = {model.full_name: model for model in models}
        self._by_version = {model.version_id: model for model in models}
        self._deployments = deployments

    def named(self, full_name: str) -> Model | None:
        return self._by_name.get(full_name)

    def deployed(self, full_name: str) -> Model | None:
        return self._deployments.get(full_name)

    def versioned(self, text: str) -> Model | None:
        """`owner/name:hash`, `hash`, or `owner/name` of an official model."""
        name, colon, version = text.rpartition(":")
        if "/" in text and not colon:
            model = self.named(text)
            return model if model and model.official else None
        model = self._by_version.get(version)
        return model if model and (not colon or model.full_name == name) else None

    def of(self, full_name: str) -> Model:
        """Raises KeyError where a journal names a model that this release has not."""
        return self._by_name[full_name]


def load_catalog() -> Catalog:
    """The models shipped beside this module, and one deployment."""
    folder = Path(__file__).parent
    landscapes = _load(folder / "stable_diffusion.json")
    return Catalog([landscapes, _load(folder / "dots.json")], {"sandbox/night": landscapes})


def _load(path: Path) -> Model:
    raw = json.loads(path.read_text("utf-8"))
    schemas = raw["version"]["openapi_schema"]["components"]["schemas"]
    inputs = {"type": "object", "required": schemas["Input"].get("required", [])}
    inputs["properties"] = {name: _flat(prop, schemas) for name, prop in schemas["Input"]["properties"].items()}
    defaults = {name: prop["default"] for name, prop in inputs["properties"].items() if "default" in prop}
    return Model(**raw, defaults=defaults, validator=Draft202012Validator(inputs))


def _flat(prop: Mapping[str, Any], schemas: Mapping[str, Any]) -> dict[str, Any]:
    """Cog writes a choice as `allOf` with one reference; following it once here keeps each check cheap."""
    named = {} if "allOf" not in prop else schemas[prop["allOf"][0]["$ref"].rpartition("/")[2]]
    return {**named, **{key: value for key, value in prop.items() if key != "allOf"}}


def _in_vendor_words(error: ValidationError) -> Iterator[InvalidField]:
    field = ".".join(["input", *map(str, error.absolute_path)])
    limit: Any = error.validator_value
    if error.validator == "required":
        missing = error.message.split("'")[1]  # the library raises one error a name, and says which only here
        yield InvalidField(type="required", field=field, description=f"{missing} is required")
        return
    kind, description = {
        "type": ("invalid_type", f"Invalid type. Expected: {limit}, given: {_json_type(error.instance)}"),
        "enum": ("enum", f"{field} must be one of the following: {json.dumps(limit)[1:-1]}"),
        "minimum": ("number_gte", f"Must be greater than or equal to {limit}"),
        "maximum": ("number_lte", f"Must be less than or equal to {limit}"),
        "minLength": ("string_gte", f"String length must be greater than or equal to {limit}"),
    }.get(str(error.validator), (str(error.validator), error.message))
    yield InvalidField(type=kind, field=field, description=description)


def _json_type(value: object) -> str:
    if value is None:
        return "null"
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names[type(value)]
