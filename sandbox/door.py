"""The way into the API: faults, authentication and the rate limit come before every operation, faults after it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from sandbox import wire
from sandbox.faults import EXCHANGE, Struck
from sandbox.limits import Verdict
from sandbox.predictions import Prediction, prompt_in
from sandbox.provider import Provider
from sandbox.refusals import Refusal, problem, proxy_error, throttled
from sandbox.wire import Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call as an operation sees it. `body` is parsed JSON or None; `prediction` the one its path names."""

    operation: str
    path: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: object
    prediction: Prediction | None

    @property
    def prompt(self) -> str:
        """What fault rules match: of the prediction named, or of the one asked for."""
        if self.prediction is not None:
            return self.prediction.prompt
        return prompt_in(self.body.get("input")) if isinstance(self.body, dict) else ""

    def named(self) -> Prediction:
        """Raises Refusal 404 where the path names no prediction of this account."""
        if self.prediction is None:
            raise Refusal(404)
        return self.prediction


Handler = Callable[[Call], Awaitable[Reply]]


def opens(
    provider: Provider, operation: str, handler: Handler
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """The operation as an aiohttp handler."""

    async def serve(request: web.Request) -> web.StreamResponse:
        call = await _read(provider, operation, request)
        provider.stats.arrived[operation] += 1
        struck = provider.faults.strike(operation, call.prompt, EXCHANGE)
        await asyncio.sleep(struck.get("delay", {}).get("seconds", 0))
        if "reset" in struck:
            return wire.reset(request)
        reply = await _answer(provider, call, handler, struck)
        await asyncio.sleep(struck.get("delay_after", {}).get("seconds", 0))
        return await _send(provider, request, reply, operation, struck)

    return serve


async def _read(provider: Provider, operation: str, request: web.Request) -> Call:
    raw = await request.read()
    body = _parsed(raw) if raw else None
    return Call(
        operation=operation,
        path=request.match_info,
        query=request.query,
        headers=request.headers,
        body=body,
        prediction=provider.store.get(request.match_info.get("prediction_id", "")),
    )


def _parsed(raw: bytes) -> object:
    """None for what is no JSON, NaN and half of a surrogate pair included: they must not get into a prediction."""
    try:
        body: object = json.loads(raw, parse_constant=_refuse)
        if b"\\u" in raw:
            json.dumps(body, ensure_ascii=False).encode()
    except ValueError:
        return None
    return body


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


async def _answer(provider: Provider, call: Call, handler: Handler, struck: Struck) -> Reply:
    if "status" in struck:
        reply = faulty_reply(struck["status"], dialect=provider.options.dialect)
    else:
        try:
            reply = await _handle(provider, call, handler)
        except Refusal as refusal:
            reply = refusal_reply(refusal, dialect=provider.options.dialect)
    if reply.status < 400:
        provider.stats.answered[call.operation] += 1
    elif call.operation == "create":
        provider.stats.refused_creates[reply.status] += 1
    return reply


async def _handle(provider: Provider, call: Call, handler: Handler) -> Reply:
    if not authorized(call.headers, provider.options.token):
        raise Refusal(401)
    bucket = provider.creates if call.operation == "create" else provider.calls
    verdict = bucket.take(time.monotonic())
    if not verdict.granted:
        provider.stats.limited[call.operation] += 1
        raise throttled(verdict.wait_seconds, per_minute=bucket.per_minute, burst=bucket.burst, hint=provider.wait_hint)
    reply = await handler(call)
    return Reply(
        status=reply.status,
        body=reply.body,
        media_type=reply.media_type,
        headers={**reply.headers, **_rate_headers(verdict)},
    )


async def _send(
    provider: Provider, request: web.Request, reply: Reply, operation: str, struck: Struck
) -> web.StreamResponse:
    lost = operation == "create" and reply.status < 400
    if "reset_after" in struck:
        provider.stats.replies_lost += lost
        return wire.reset(request)
    if "status_after" in struck:
        provider.stats.replies_lost += lost
        reply = faulty_reply(struck["status_after"], dialect=provider.options.dialect)
    return await wire.send(request, reply, over_seconds=struck.get("slow_body", {}).get("seconds", 0))


def authorized(headers: Mapping[str, str], token: str | None) -> bool:
    """`Bearer x`, or the older `Token x`; any x that is not empty where no token was set."""
    scheme, _, given = headers.get("Authorization", "").partition(" ")
    if scheme.lower() not in ("bearer", "token"):
        return False
    return given.strip() == token if token else bool(given.strip())


def refusal_reply(refusal: Refusal, *, dialect: str) -> Reply:
    if dialect == "replicate":
        return wire.json_reply(refusal.status, problem(refusal), headers=refusal.headers, problem=True)
    return wire.json_reply(refusal.status, proxy_error(refusal), headers=refusal.headers)


def faulty_reply(fault: Mapping[str, Any], *, dialect: str) -> Reply:
    """A `status` rule's reply: its body as it is if text (sent as HTML) or JSON, else the dialect's usual words."""
    headers = {name: str(value) for name, value in fault["headers"].items()}
    body = fault["body"]
    if body is None:
        return refusal_reply(Refusal(fault["status"], headers=headers), dialect=dialect)
    if isinstance(body, str):
        return Reply(status=fault["status"], body=body.encode(), media_type=wire.HTML, headers=headers)
    return wire.json_reply(fault["status"], body, headers=headers, problem=dialect == "replicate")


def _rate_headers(verdict: Verdict) -> dict[str, str]:
    if verdict.remaining is None:
        return {}
    return {"ratelimit-remaining": str(verdict.remaining), "ratelimit-reset": str(verdict.reset_seconds)}
