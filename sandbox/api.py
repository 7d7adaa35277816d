"""The operations under /v1, each from a call to a reply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from sandbox import shapes
from sandbox.door import Call, Handler, opens
from sandbox.faults import OPERATIONS, VIEW
from sandbox.listing import list_page
from sandbox.models import Model
from sandbox.orders import Order, Target, read_order
from sandbox.predictions import NS, Prediction, Status
from sandbox.provider import Provider
from sandbox.refusals import Refusal
from sandbox.webhooks import Webhooks
from sandbox.wire import Reply, json_reply

# What each dialect has at all; the rest answers 404.
OFFERED: Mapping[str, frozenset[str]] = {
    "replicate": OPERATIONS,
    "no-list": OPERATIONS - {"list"},
    "images": frozenset({"create"}),
}
ACCOUNT = {"type": "user", "username": "sandbox", "name": "Sandbox", "github_url": None}


class Api:
    """The operations on one provider. They raise Refusal for what the door answers with 4xx."""

    def __init__(self, provider: Provider, webhooks: Webhooks) -> None:
        self._provider = provider
        self._webhooks = webhooks
        self._dialect = provider.options.dialect

    def routes(self) -> list[web.RouteDef]:
        base = f"{self._provider.options.prefix}/v1"
        model = base + "/models/{owner}/{name}"
        one = base + "/predictions/{prediction_id}"
        return [
            self._route("POST", f"{base}/predictions", "create", self.create),
            self._route("POST", f"{model}/predictions", "create", self.create_official),
            self._route("POST", base + "/deployments/{owner}/{name}/predictions", "create", self.create_deployed),
            self._route("GET", f"{base}/predictions", "list", self.list),
            self._route("GET", one, "get", self.get),
            self._route("POST", f"{one}/cancel", "cancel", self.cancel),
            self._route("GET", model, "version", self.model),
            self._route("GET", f"{model}/versions", "version", self.versions),
            self._route("GET", model + "/versions/{version_id}", "version", self.version),
            self._route("GET", f"{base}/account", "account", self.account),
            self._route("GET", f"{base}/webhooks/default/secret", "account", self.webhook_secret),
        ]

    def _route(self, method: str, path: str, operation: str, handler: Handler) -> web.RouteDef:
        offered = operation in OFFERED[self._dialect]
        return web.route(method, path, opens(self._provider, operation, handler if offered else _missing))

    async def create(self, call: Call) -> Reply:
        return await self._create(call, Target())

    async def create_official(self, call: Call) -> Reply:
        model = self._model(call)
        if not model.official:
            raise Refusal(404)
        return await self._create(call, Target(model=model))

    async def create_deployed(self, call: Call) -> Reply:
        name = f"{call.path['owner']}/{call.path['name']}"
        model = self._provider.catalog.deployed(name)
        if model is None:
            raise Refusal(404)
        return await self._create(call, Target(model=model, deployment=name))

    async def _create(self, call: Call, target: Target) -> Reply:
        order = read_order(
            call.body,
            call.headers,
            target=target,
            catalog=self._provider.catalog,
            min_cancel_after_seconds=self._provider.options.min_cancel_after_seconds,
        )
        prediction = self._provider.accept(order)
        self._webhooks.plan(prediction)
        if self._dialect == "images":
            return await self._images(prediction)
        return await self._created(call, order, prediction)

    async def _created(self, call: Call, order: Order, prediction: Prediction) -> Reply:
        status, headers, ended = 201, {}, False
        if order.wait_seconds is not None:
            prediction = await self._provider.wait_for_end(prediction, order.wait_seconds)
            ended = self._provider.look(prediction).ended
            status, headers = 201 if ended else 202, {"Preference-Applied": call.headers["Prefer"]}
        shown = await self._show(prediction, "create", waited=ended)
        return json_reply(200 if self._dialect == "no-list" else status, shown, headers=headers)

    async def _images(self, prediction: Prediction) -> Reply:
        """The proxy's answer: it waits itself, and what fails there is its own 500 here."""
        ended = await self._provider.wait_for_end(prediction, None)
        seen = self._provider.look(ended)
        if seen.status != Status.SUCCEEDED:
            raise Refusal(500, ended.fate.error or f"The prediction was {seen.status}.")
        as_data = self._provider.options.images_as == "b64"
        outputs = await self._provider.outputs(ended, seen, as_data=as_data) or []
        data = [{"b64_json": uri.partition(",")[2]} if as_data else {"url": uri} for uri in outputs]
        return json_reply(200, {"created": self._provider.now_ns() // NS, "data": data})

    async def get(self, call: Call) -> Reply:
        return json_reply(200, await self._show(call.named(), "get"))

    async def cancel(self, call: Call) -> Reply:
        return json_reply(200, await self._show(self._provider.cancel(call.named()), "cancel"))

    async def list(self, call: Call) -> Reply:
        return json_reply(200, await list_page(self._provider, call.query))

    async def model(self, call: Call) -> Reply:
        return json_reply(200, shapes.model(self._model(call)))

    async def versions(self, call: Call) -> Reply:
        return json_reply(200, shapes.page([self._model(call).version]))

    async def version(self, call: Call) -> Reply:
        model = self._model(call)
        if call.path["version_id"] != model.version_id:
            raise Refusal(404)
        return json_reply(200, model.version)

    async def account(self, _: Call) -> Reply:
        return json_reply(200, ACCOUNT)

    async def webhook_secret(self, _: Call) -> Reply:
        return json_reply(200, {"key": self._webhooks.secret})

    async def _show(self, prediction: Prediction, operation: str, *, waited: bool = False) -> dict[str, Any]:
        view = self._provider.faults.strike(operation, prediction.prompt, VIEW)
        return shapes.altered(await self._provider.show(prediction, waited=waited), prediction, view)

    def _model(self, call: Call) -> Model:
        model = self._provider.catalog.named(f"{call.path['owner']}/{call.path['name']}")
        if model is None:
            raise Refusal(404)
        return model


async def _missing(_: Call) -> Reply:
    raise Refusal(404)
