"""Which check the inputs of a model version get."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from imagejobs.errors import BadSetting, NotSent, Permanent, Refused, Throttled, Transient
from imagejobs.models.check import InputCheck, Unchecked
from imagejobs.models.stable_diffusion import VERSION_ID, StableDiffusion

_NO_ANSWER = (NotSent, Permanent, Refused, Throttled, Transient)


class Models:
    """The checks by version, each made once.

    `fetch` asks the provider for the input's schema with the components it refers to; None: it has none to give.
    `recall` and `remember` are the cache that outlives the process; what they keep refers to nothing any more.
    With `unchecked`, a model whose schema cannot be had takes any input.
    """

    def __init__(
        self,
        *,
        fetch: Callable[[str], Mapping[str, Any] | None],
        recall: Callable[[str], Mapping[str, Any] | None],
        remember: Callable[[str, dict[str, Any]], None],
        unchecked: bool = False,
    ) -> None:
        self._fetch = fetch
        self._recall = recall
        self._remember = remember
        self._unchecked = unchecked
        self._checks: dict[str, InputCheck] = {}

    def check(self, version: str) -> InputCheck:
        """The check for this version. Raises BadSetting, with the choice to make, when its schema cannot be had."""
        if version not in self._checks:
            self._checks[version] = self._find(version)
        return self._checks[version]

    def _find(self, version: str) -> InputCheck:
        if version.rpartition(":")[2] == VERSION_ID:
            return StableDiffusion()
        from imagejobs.models.schema import JsonSchema  # slow to import, and not needed for the first model

        known = self._recall(version)
        if known is not None:
            return JsonSchema(known)
        try:
            return self._ask(version)
        except (BadSetting, *_NO_ANSWER) as reason:
            if self._unchecked:
                return Unchecked()
            raise BadSetting(
                f"the inputs of {version} cannot be checked ({reason}); to send them unchecked, "
                "pass --unchecked or set IMAGEJOBS_UNCHECKED=1"
            ) from reason

    def _ask(self, version: str) -> InputCheck:
        from imagejobs.models.schema import JsonSchema, without_references

        published = self._fetch(version)
        if published is None:
            raise BadSetting("the provider has no schema for it" + ("" if "/" in version else "; is it owner/name:…?"))
        schema = without_references(published)
        check = JsonSchema(schema)
        if ":" in version:  # without a hash it names the model's newest version, which changes
            self._remember(version, schema)
        return check
