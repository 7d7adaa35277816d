"""A measuring device for puts: as much of S3 as the contestants speak, in one process that counts what arrives.

    python -m ops.bench.sink --port 9000

It checks the SHA-256 that a put was signed with and walks every PNG's checksums, so "arrived" means "intact". Images
are measured and thrown away; anything else is kept in memory and given back. It proves nothing about stores: that is
the tests' business, on real ones. `GET /_sink/arrivals` shows what came, `POST /_sink/reset` forgets it, and
`POST /_sink/outage?seconds=60` answers everybody with 503 for so long.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from ops.bench.pngs import is_intact, prompt_of

LARGEST_BODY_BYTES = 64_000_000
NOT_FOUND = "<Error><Code>NoSuchKey</Code><Message>there is none</Message></Error>"
AWAY = "<Error><Code>ServiceUnavailable</Code><Message>Reduce your request rate.</Message></Error>"
BAD_DIGEST = "<Error><Code>XAmzContentSHA256Mismatch</Code><Message>other bytes than signed</Message></Error>"


@dataclass(frozen=True, slots=True)
class Held:
    """One object: what HEAD tells of it. The bytes of images are not kept."""

    size: int
    etag: str
    metadata: dict[str, str]
    body: bytes | None


class Sink:
    """The objects, and the counts since the last reset."""

    def __init__(self) -> None:
        self._objects: dict[str, Held] = {}
        self._away_until = 0.0  # monotonic
        self.reset()

    def reset(self) -> None:
        """Forget counts and arrivals; objects stay."""
        self.counts: Counter[str] = Counter()
        self.arrivals: dict[str, float] = {}
        self.others: set[str] = set()

    def put(self, key: str, body: bytes, headers: Any) -> web.Response:
        """One object. 400 where the bytes are not those that were signed."""
        arrived = time.time()
        digest = hashlib.sha256(body).hexdigest()
        signed = headers.get("x-amz-content-sha256", "")
        if len(signed) == len(digest) and signed != digest:
            self.counts["puts_refused"] += 1
            return web.Response(status=400, text=BAD_DIGEST, content_type="application/xml")
        prompt = prompt_of(body)
        metadata = {name: value for name, value in headers.items() if name.lower().startswith("x-amz-meta-")}
        etag = f'"{digest[:32]}"'
        self._objects[key] = Held(len(body), etag, metadata, body if prompt is None else None)
        self.counts["puts"] += 1
        self.counts["bytes"] += len(body)
        if prompt is None:
            self.others.add(key.rpartition("/")[2])
        else:
            self._count_image(prompt, body, arrived)
        return web.Response(headers={"ETag": etag})

    def _count_image(self, prompt: str, body: bytes, arrived: float) -> None:
        intact = is_intact(body)
        self.counts["images_intact" if intact else "images_broken"] += 1
        if intact:
            self.arrivals.setdefault(prompt, arrived)

    async def handle(self, request: web.Request) -> web.Response:
        """PUT, GET, HEAD and DELETE of an object."""
        key = request.path
        if time.monotonic() < self._away_until:
            self.counts["refused_while_away"] += 1
            return web.Response(status=503, text=AWAY, content_type="application/xml")
        if request.method == "PUT":
            return self.put(key, await request.read(), request.headers)
        self.counts[request.method.lower() + "s"] += 1
        if request.method == "DELETE":
            self._objects.pop(key, None)
            return web.Response(status=204)
        held = self._objects.get(key)
        if held is None:
            return web.Response(status=404, text=NOT_FOUND, content_type="application/xml")
        headers = {"ETag": held.etag, **held.metadata}
        if request.method == "HEAD":
            return web.Response(headers={**headers, "Content-Length": str(held.size)})
        return web.Response(headers=headers, body=held.body or b"")

    async def show(self, _: web.Request) -> web.Response:
        """Counts, and when each prompt's first intact image arrived (seconds since the epoch)."""
        return web.json_response({"counts": self.counts, "images": len(self.arrivals), "arrivals": self.arrivals})

    async def count(self, _: web.Request) -> web.Response:
        """For whoever waits: of how many prompts an image has arrived, and the names of what is no image."""
        return web.json_response({"images": len(self.arrivals), "others": sorted(self.others)})

    async def outage(self, request: web.Request) -> web.Response:
        """Be away from now on, for the seconds asked for."""
        self._away_until = time.monotonic() + float(request.query["seconds"])
        return web.json_response({})

    async def forget(self, _: web.Request) -> web.Response:
        """See `reset`."""
        self.reset()
        return web.json_response({})


def application() -> web.Application:
    """The sink as an aiohttp application."""
    sink = Sink()
    app = web.Application(client_max_size=LARGEST_BODY_BYTES)
    app.add_routes(
        [
            web.get("/_sink/arrivals", sink.show),
            web.get("/_sink/count", sink.count),
            web.post("/_sink/reset", sink.forget),
            web.post("/_sink/outage", sink.outage),
            web.route("*", "/{key:.+}", sink.handle),
        ]
    )
    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Counts what is put, as an S3 store would take it.")
    parser.add_argument("--port", type=int, required=True)
    web.run_app(application(), host="127.0.0.1", port=parser.parse_args().port, print=None, access_log=None)
