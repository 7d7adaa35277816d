"""A model's own input schema comes from somebody else: what cannot be used is a bad setting."""

from __future__ import annotations

from typing import Any

import pytest

from imagejobs.errors import BadSetting
from imagejobs.models.schema import without_references


@pytest.mark.parametrize(
    "seed",
    [
        {"type": "integer", "minimum": float("-inf")},
        {"type": "integer", "default": float("nan")},
        {"type": "string", "default": "\ud800"},
    ],
)
def test_what_json_cannot_hold_is_refused(seed: dict[str, Any]) -> None:
    """It would become a default of every row, and be refused by the database or the provider."""
    with pytest.raises(BadSetting, match="JSON cannot hold"):
        without_references({"properties": {"seed": seed}})


def test_references_may_not_multiply_without_end() -> None:
    """A few lines that would unfold to billions of parts."""
    components: dict[str, Any] = {f"c{n}": {"anyOf": [{"$ref": f"#/components/c{n + 1}"}] * 16} for n in range(8)}
    schema = {"properties": {"x": {"$ref": "#/components/c0"}}, "components": {**components, "c8": {"type": "string"}}}
    with pytest.raises(BadSetting, match="unfolds"):
        without_references(schema)
