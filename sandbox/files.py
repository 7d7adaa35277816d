"""Downloads: pictures at addresses nobody can guess, open to whoever has one, until their hour is over."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

from aiohttp import web

from sandbox import wire
from sandbox.containers import bomb, corrupted
from sandbox.door import faulty_reply
from sandbox.faults import DOWNLOAD, EXCHANGE, Struck
from sandbox.gallery import subject_of
from sandbox.predictions import Prediction, Status
from sandbox.provider import Provider
from sandbox.wire import HTML, Reply

GONE = Reply(status=404, body=b"<html><body>Not found</body></html>", media_type=HTML)
ERROR_PAGE = b"<!doctype html><html><body><h1>Something went wrong</h1></body></html>"


class Files:
    """No token is asked for; one that is sent all the same is counted, for it should not have been."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def routes(self) -> list[web.RouteDef]:
        return [web.get(self._provider.options.prefix + "/files/{file_key}/{name}", self.serve)]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        stats = self._provider.stats
        stats.arrived["file"] += 1
        stats.files_with_token += "Authorization" in request.headers
        prediction = self._provider.store.by_file_key(request.match_info["file_key"])
        prompt = prediction.prompt if prediction else None
        struck = self._provider.faults.strike("file", prompt, EXCHANGE.keys() | DOWNLOAD.keys())
        await asyncio.sleep(struck.get("delay", {}).get("seconds", 0))
        if "reset" in struck:
            return wire.reset(request)
        reply = await self._reply(prediction, request.match_info["name"], struck)
        await asyncio.sleep(struck.get("delay_after", {}).get("seconds", 0))
        if "reset_after" in struck:
            return wire.reset(request)
        if "huge" in struck and reply.status == 200:
            total_bytes = struck["huge"]["bytes"]
            return await wire.send_huge(request, reply.body, media_type=reply.media_type, total_bytes=total_bytes)
        response = await wire.send(request, reply, over_seconds=struck.get("slow_body", {}).get("seconds", 0))
        self._count(reply, spoiled=bool(struck.keys() & DOWNLOAD.keys()))
        return response

    def _count(self, reply: Reply, *, spoiled: bool) -> None:
        stats = self._provider.stats
        if reply.status >= 400:
            stats.refused_files[reply.status] += 1
        elif not spoiled:
            stats.answered["file"] += 1
            stats.file_bytes += len(reply.body)

    async def _reply(self, prediction: Prediction | None, name: str, struck: Struck) -> Reply:
        if "status" in struck:
            return faulty_reply(struck["status"], dialect="replicate")
        if "redirect" in struck:
            return Reply(status=302, headers={"Location": struck["redirect"]["url"]}, media_type=HTML)
        picture = None if "gone" in struck else await self._picture(prediction, name, half="wrong_size" in struck)
        if picture is None:
            return GONE
        if "status_after" in struck:
            return faulty_reply(struck["status_after"], dialect="replicate")
        return _spoiled(Reply(status=200, body=picture, media_type=self._provider.gallery.media_type), struck)

    async def _picture(self, prediction: Prediction | None, name: str, *, half: bool) -> bytes | None:
        found = re.fullmatch(rf"out-(\d)\.{self._provider.options.image_format}", name)
        if prediction is None or found is None:
            return None
        index, seen = int(found[1]), self._provider.look(prediction)
        if seen.status != Status.SUCCEEDED or seen.removed or index not in prediction.fate.images:
            return None
        subject = subject_of(prediction, self._provider.catalog.of(prediction.model), index)
        if half:
            subject = replace(subject, width=subject.width // 2, height=subject.height // 2)
        return await self._provider.gallery.picture(subject)


def _spoiled(reply: Reply, struck: Struck) -> Reply:
    body = reply.body
    if "html" in struck:
        return replace(reply, body=ERROR_PAGE, media_type=HTML)
    if "bomb" in struck:
        return replace(reply, body=bomb(struck["bomb"]["side"]))
    if "corrupt" in struck:
        return replace(reply, body=corrupted(body))
    if "truncate" in struck:
        kept = int(len(body) * struck["truncate"]["share"])
        return replace(reply, body=body[:kept], declared_bytes=len(body))
    if "wrong_length" in struck:
        return replace(reply, body=body[: int(len(body) * struck["wrong_length"]["share"])])
    return replace(reply, chunked="no_length" in struck)
