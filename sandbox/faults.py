"""Scriptable faults: which rules there are, which of them strikes a given call.

A rule is a JSON object: `{"on": "create", "kind": "reset_after", "rate": 0.02}`. Common keys: `rate` (0 to 1, default
1), `count` (strikes at most so often), `after_seconds` and `for_seconds` (a window counted from when the rules were
set), `match` (only calls about a prompt that holds this text; list, version and account calls are about none). All
other keys belong to the kind, with the defaults shown in `KINDS`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

Struck = Mapping[str, Mapping[str, Any]]  # the faults that strike one call: kind -> parameters

OPERATIONS = frozenset({"create", "get", "list", "cancel", "version", "account", "file"})
CREATE, LIST, FILE = frozenset({"create"}), frozenset({"list"}), frozenset({"file"})
OBJECTS = frozenset({"create", "get", "list", "cancel"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What a kind of fault can strike, and its own parameters with their defaults."""

    on: frozenset[str]
    parameters: Mapping[str, Any] = field(default_factory=dict)


# Strike the exchange itself. `..._after`: the call is handled first, so a create is accepted and its reply is lost.
EXCHANGE = {
    "status": Kind(on=OPERATIONS, parameters={"status": 500, "body": None, "headers": {}}),
    "status_after": Kind(on=OPERATIONS, parameters={"status": 502, "body": None, "headers": {}}),
    "reset": Kind(on=OPERATIONS),
    "reset_after": Kind(on=OPERATIONS),
    "delay": Kind(on=OPERATIONS, parameters={"seconds": 1.0}),
    "delay_after": Kind(on=OPERATIONS, parameters={"seconds": 1.0}),
    "slow_body": Kind(on=OPERATIONS, parameters={"seconds": 1.0}),
}
# Decide, when a prediction is made, what becomes of it.
FATE = {
    "fail": Kind(on=CREATE, parameters={"error": "Director: unexpected error handling prediction (E9828)"}),
    "slow_start": Kind(on=CREATE, parameters={"seconds": 60.0}),
    "slow_run": Kind(on=CREATE, parameters={"seconds": 60.0}),
    "partial": Kind(on=CREATE, parameters={"keep": 1}),
    "data_uri": Kind(on=CREATE),
    "null_output": Kind(on=CREATE),
    "data_removed": Kind(on=CREATE),
    "output_url": Kind(on=CREATE, parameters={"url": "http://127.0.0.1:9/out-0.png"}),
    "unknown_status": Kind(on=CREATE, parameters={"status": "rebalancing", "for_ever": False}),
    "no_deadline": Kind(on=CREATE),
}
# Change how prediction objects are shown.
VIEW = {
    "drop_fields": Kind(on=OBJECTS, parameters={"fields": ["logs", "version"]}),
    "created_at_shift": Kind(on=OBJECTS, parameters={"seconds": 0.033}),
    "list_lag": Kind(on=LIST, parameters={"seconds": 5.0}),
    "list_circle": Kind(on=LIST),  # the cursor is not looked at: every page is the first one, and names another
    "shuffle": Kind(on=LIST),
}
# Spoil downloads. `truncate` breaks off short of the length it declared; `wrong_length` declares the short length.
DOWNLOAD = {
    "truncate": Kind(on=FILE, parameters={"share": 0.5}),
    "wrong_length": Kind(on=FILE, parameters={"share": 0.5}),
    "no_length": Kind(on=FILE),
    "html": Kind(on=FILE),
    "corrupt": Kind(on=FILE),
    "bomb": Kind(on=FILE, parameters={"side": 60_000}),
    "huge": Kind(on=FILE, parameters={"bytes": 500_000_000}),
    "wrong_size": Kind(on=FILE),
    "redirect": Kind(on=FILE, parameters={"url": "http://127.0.0.1:9/"}),
    "gone": Kind(on=FILE),
}
COMMON: Mapping[str, Any] = {"rate": 1.0, "count": 1, "after_seconds": 0.0, "for_seconds": 0.0, "match": ""}  # by type
KINDS: Mapping[str, Kind] = {**EXCHANGE, **FATE, **VIEW, **DOWNLOAD}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule as set, its kind's parameters filled in."""

    on: str
    kind: str
    rate: float = 1.0
    count: int | None = None
    after_seconds: float = 0.0
    for_seconds: float | None = None
    match: str = ""
    parameters: Mapping[str, Any]


def read_rules(raw: object) -> list[Rule]:
    """Raises ValueError that names the rule and what is wrong with it: a typing error must not pass as no fault."""
    if not isinstance(raw, list):
        raise ValueError("fault rules are a JSON list of objects")  # noqa: TRY004  # callers sort by ValueError
    return [_read_rule(number, entry) for number, entry in enumerate(raw, start=1)]


def _read_rule(number: int, entry: object) -> Rule:
    if not isinstance(entry, dict) or str(entry.get("kind")) not in KINDS:
        raise ValueError(f"rule {number}: kind must be one of {', '.join(KINDS)}")
    kind = KINDS[str(entry["kind"])]
    if str(entry.get("on")) not in kind.on:
        raise ValueError(f"rule {number}: {entry['kind']} strikes only on {', '.join(sorted(kind.on))}")
    known = {"on": "", "kind": "", **COMMON, **kind.parameters}
    for key, value in entry.items():
        if key not in known or not _like(value, known[key]):
            raise ValueError(f"rule {number}: {entry['kind']} cannot have {key} = {value!r}")
    own = {key: value for key, value in entry.items() if key in kind.parameters}
    shared = {key: value for key, value in entry.items() if key not in own}
    return Rule(**shared, parameters={**kind.parameters, **own})


def _like(value: object, default: object) -> bool:
    if default is None:
        return True
    if isinstance(default, float):
        return isinstance(value, int | float)
    return type(value) is type(default)


class FaultBook:
    """The rules in force. Chance comes from a seeded source, so a run whose calls come in one order can be repeated."""

    def __init__(self, seed: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._seed = seed
        self._clock = clock
        self.replace([])

    def replace(self, rules: list[Rule]) -> None:
        """New rules in place of all old ones; counts and time windows start now, chance starts over."""
        self.rules = rules
        self.struck = [0] * len(rules)
        self._set_at = self._clock()
        self.dice = random.Random(self._seed)

    def strike(self, operation: str, prompt: str | None, kinds: Collection[str]) -> Struck:
        """The faults of these kinds that strike this call. The first rule of a kind wins."""
        struck: dict[str, Mapping[str, Any]] = {}
        if not self.rules:
            return struck
        elapsed = self._clock() - self._set_at
        for number, rule in enumerate(self.rules):
            if rule.on != operation or rule.kind not in kinds or rule.kind in struck:
                continue
            if self._applies(number, rule, prompt, elapsed):
                self.struck[number] += 1
                struck[rule.kind] = rule.parameters
        return struck

    def _applies(self, number: int, rule: Rule, prompt: str | None, elapsed: float) -> bool:
        if rule.count is not None and self.struck[number] >= rule.count:
            return False
        if elapsed < rule.after_seconds:
            return False
        if rule.for_seconds is not None and elapsed >= rule.after_seconds + rule.for_seconds:
            return False
        if rule.match and rule.match not in (prompt or ""):
            return False
        return self.dice.random() < rule.rate
