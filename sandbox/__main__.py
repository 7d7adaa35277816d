"""Starts the stand-in provider: `python -m sandbox --help`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from pathlib import Path

from aiohttp import web

from sandbox.app import build_app
from sandbox.faults import read_rules
from sandbox.lifetime import die_with_parent
from sandbox.options import Options, parse
from sandbox.provider import Provider

SHUTDOWN_SECONDS = 0.5  # calls still open at the end are cut after so long
BACKLOG = 512  # connections that may wait to be accepted: many workers connect at once


def main() -> int:
    """Runs until SIGTERM or SIGINT, then returns 0; 2 where options or their files cannot be used."""
    options = parse(sys.argv[1:], os.environ)
    if options.die_with_parent:
        die_with_parent()
    try:
        provider = Provider(options)
        if options.faults is not None:
            provider.faults.replace(read_rules(json.loads(options.faults.read_text("utf-8"))))
        asyncio.run(_serve(options, provider))
    except (OSError, OverflowError, ValueError, KeyError) as error:
        sys.stderr.write(f"imagejobs sandbox: {error}\n")
        return 2
    return 0


async def _serve(options: Options, provider: Provider) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = web.AppRunner(build_app(provider), access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listener = socket.create_server((options.host, options.port), family=family, backlog=BACKLOG)
    provider.base = _base(options, listener.getsockname()[1])
    try:
        await runner.setup()
        await web.SockSite(runner, listener).start()
        _announce(provider.base, options.ready_file)
        await stop.wait()
    finally:
        await runner.cleanup()
        provider.close()


def _base(options: Options, port: int) -> str:
    host = f"[{options.host}]" if ":" in options.host else options.host
    return f"{options.public_url or f'http://{host}:{port}'}{options.prefix}"


def _announce(url: str, ready_file: Path | None) -> None:
    if ready_file is not None:
        draft = ready_file.with_name(f"{ready_file.name}.{os.getpid()}")
        draft.write_text(json.dumps({"url": url, "pid": os.getpid()}), "utf-8")
        draft.replace(ready_file)
    with contextlib.suppress(BrokenPipeError):  # whoever started us may not care for the line
        sys.stdout.write(f"{url}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
