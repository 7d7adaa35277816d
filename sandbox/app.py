"""Wires the parts into one aiohttp application."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import web

from sandbox.api import Api
from sandbox.control import Control
from sandbox.files import Files
from sandbox.provider import Provider
from sandbox.webhooks import Webhooks

LARGEST_BODY_BYTES = 8_000_000


def build_app(provider: Provider) -> web.Application:
    """Webhooks start and end with the application; `provider.base` must be set before either."""
    webhooks = Webhooks(provider)
    app = web.Application(client_max_size=LARGEST_BODY_BYTES)
    app.add_routes(Api(provider, webhooks).routes())
    app.add_routes(Files(provider).routes())
    app.add_routes(Control(provider, webhooks).routes())

    async def run_webhooks(_: web.Application) -> AsyncIterator[None]:
        await webhooks.start()
        yield
        await webhooks.close()

    app.cleanup_ctx.append(run_webhooks)
    return app
