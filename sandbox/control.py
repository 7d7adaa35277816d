"""What tests and demos steer and ask: stats, predictions, faults, limits, reset. For this machine only, no token."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler as WebHandler

from sandbox import shapes
from sandbox.faults import read_rules
from sandbox.orders import is_loopback
from sandbox.predictions import Prediction
from sandbox.provider import Provider
from sandbox.webhooks import Webhooks

WAIT_HINTS = ("body", "text", "header", "none")
# What PUT /sandbox/limits understands, and the type of each.
LIMITS: dict[str, type] = {
    "creates_per_minute": float,
    "calls_per_minute": float,
    "burst": int,
    "early_retry_extends": bool,
    "wait_hint": str,
}


class Control:
    """The endpoints under /sandbox."""

    def __init__(self, provider: Provider, webhooks: Webhooks) -> None:
        self._provider = provider
        self._webhooks = webhooks

    def routes(self) -> list[web.RouteDef]:
        base = f"{self._provider.options.prefix}/sandbox"
        return [
            web.get(f"{base}/stats", _local(self.stats)),
            web.get(f"{base}/predictions", _local(self.predictions)),
            web.put(f"{base}/faults", _local(self.set_faults)),
            web.put(f"{base}/limits", _local(self.set_limits)),
            web.post(f"{base}/reset", _local(self.reset)),
        ]

    async def stats(self, _: web.Request) -> web.Response:
        provider = self._provider
        rules = zip(provider.faults.rules, provider.faults.struck, strict=True)
        faults = [{"on": rule.on, "kind": rule.kind, "struck": struck} for rule, struck in rules]
        census = provider.census.to_json(provider.look_at)
        return web.json_response({**census, **provider.stats.to_json(), "faults": faults})

    async def predictions(self, _: web.Request) -> web.Response:
        """Oldest first, with inputs even where the API has removed them."""
        return web.json_response({"predictions": [self._listed(record) for record in self._provider.store.all()]})

    def _listed(self, record: Prediction) -> dict[str, Any]:
        seen = self._provider.look(record)
        return {
            "id": record.id,
            "model": record.model,
            "version": record.version,
            "input": record.input,
            "seed": record.seed,
            "created_at": shapes.stamp(record.created_ns, 9),
            "completed_at": None if seen.completed_ns is None else shapes.stamp(seen.completed_ns, 9),
            "status": seen.status,
            "images": list(record.fate.images),
        }

    async def set_faults(self, request: web.Request) -> web.Response:
        """A list of rules in place of all old ones; an empty list ends all faults."""
        rules = read_rules(await _body(request))
        self._provider.faults.replace(rules)
        return web.json_response({"rules": len(rules)})

    async def set_limits(self, request: web.Request) -> web.Response:
        """Any of `LIMITS`; what is left out stays as it is."""
        provider = self._provider
        wanted = _checked_limits(await _body(request))
        burst = wanted.get("burst", provider.creates.burst)
        extends = wanted.get("early_retry_extends", provider.creates.early_retry_extends)
        for bucket, name in ((provider.creates, "creates_per_minute"), (provider.calls, "calls_per_minute")):
            bucket.configure(wanted.get(name, bucket.per_minute), burst, early_retry_extends=extends)
        provider.wait_hint = wanted.get("wait_hint", provider.wait_hint)
        return web.json_response(
            {
                "creates_per_minute": provider.creates.per_minute,
                "calls_per_minute": provider.calls.per_minute,
                "burst": burst,
                "early_retry_extends": extends,
                "wait_hint": provider.wait_hint,
            }
        )

    async def reset(self, _: web.Request) -> web.Response:
        self._webhooks.forget()
        self._provider.reset()
        return web.json_response({})


def _checked_limits(wanted: object) -> dict[str, Any]:
    if not isinstance(wanted, dict):
        raise ValueError("limits are a JSON object")  # noqa: TRY004  # callers sort by ValueError
    for name, value in wanted.items():
        if name not in LIMITS:
            raise ValueError(f"no limit is called {name}; there are {', '.join(LIMITS)}")
        number = LIMITS[name] is float and type(value) in (int, float) and value >= 0
        if not number and type(value) is not LIMITS[name]:
            raise ValueError(f"{name} cannot be {value!r}")
    if wanted.get("wait_hint", "body") not in WAIT_HINTS:
        raise ValueError(f"wait_hint is one of {', '.join(WAIT_HINTS)}")
    if wanted.get("burst", 1) < 1:
        raise ValueError("burst is a whole number from 1 up")
    return wanted


async def _body(request: web.Request) -> object:
    content: object = json.loads(await request.read())
    return content


def _local(handler: WebHandler) -> WebHandler:
    """Refuses other machines with 403, and what cannot be understood with 400 and the reason."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        if not is_loopback(request.remote or ""):
            return web.json_response({"detail": "for this machine only"}, status=403)
        try:
            return await handler(request)
        except ValueError as error:
            return web.json_response({"detail": str(error)}, status=400)

    return guarded
