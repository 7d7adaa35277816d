"""What tests of the provider's door share."""

from __future__ import annotations

from typing import Any

import pytest

from imagejobs.edges.dialects import ImagesAnswer, Prediction
from imagejobs.edges.provider import Provider

TOKEN = "r8_SecretSecretSecret"
STARTING = {"id": "p1", "status": "starting"}


def create(provider: Provider, **changes: Any) -> Prediction | ImagesAnswer:
    facts = {"version": "o/n:abc", "input": {"prompt": "né", "seed": 7}, "cancel_after_seconds": 90.2}
    return provider.create(**{**facts, **changes})


def text_of(error: pytest.ExceptionInfo[Exception]) -> str:
    return str(error.value)
