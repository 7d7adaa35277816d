"""Pictures on demand: drawn in a thread when first asked for, kept while there is room."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from sandbox.containers import with_comment
from sandbox.drawing import MEDIA_TYPES, Subject, draw, encode
from sandbox.models import Model
from sandbox.predictions import Prediction

KEPT_BYTES = 64_000_000
DRAWING_THREADS = 2  # encoding leaves the interpreter's lock, drawing does not: more would only slow the API
DOTS_SIZES = {"square": (512, 512), "portrait": (448, 640), "landscape": (640, 448)}


def subject_of(prediction: Prediction, model: Model, index: int) -> Subject:
    """What picture `index` of a prediction shows."""
    filled = model.filled(prediction.input)
    if model.draws == "dots":
        width, height = DOTS_SIZES[filled["size"]]
        prompt, negative, dots = filled["text"], "", filled["count"]
    else:
        width, height = filled["width"], filled["height"]
        prompt, negative, dots = filled["prompt"], filled.get("negative_prompt", ""), 0
    return Subject(
        style=model.draws,
        prompt=prompt,
        negative_prompt=negative,
        seed=prediction.seed,
        index=index,
        width=width,
        height=height,
        dots=dots,
    )


class Gallery:
    """Encoded pictures by subject. With `distinct` above 0, only so many are drawn a size and each answer differs in
    its comment alone, so that a load test measures its client and not this server's brush."""

    def __init__(self, image_format: str, *, distinct: int = 0) -> None:
        self.image_format = image_format
        self.media_type = MEDIA_TYPES[image_format]
        self._distinct = distinct
        self._brushes = ThreadPoolExecutor(DRAWING_THREADS, thread_name_prefix="brush")
        self._kept: OrderedDict[Subject, bytes] = OrderedDict()
        self._kept_bytes = 0

    async def picture(self, subject: Subject) -> bytes:
        """The encoded picture, with the prompt, seed and index it was asked for as its comment."""
        drawn = self._stand_in(subject) if self._distinct else subject
        data = self._kept.get(drawn)
        if data is None:
            loop = asyncio.get_running_loop()
            data = await loop.run_in_executor(self._brushes, lambda: encode(draw(drawn), self.image_format))
            self._keep(drawn, data)
        else:
            self._kept.move_to_end(drawn)
        asked = {"prompt": subject.prompt, "seed": subject.seed, "index": subject.index}
        return with_comment(data, json.dumps(asked, ensure_ascii=False))

    async def data_uri(self, subject: Subject) -> str:
        return f"data:{self.media_type};base64,{base64.b64encode(await self.picture(subject)).decode()}"

    def close(self) -> None:
        """Drops what is waiting to be drawn."""
        self._brushes.shutdown(wait=False, cancel_futures=True)

    def _stand_in(self, subject: Subject) -> Subject:
        seed = (subject.seed + subject.index) % self._distinct
        return replace(subject, prompt=f"picture {seed}", negative_prompt="", seed=seed, index=0)

    def _keep(self, subject: Subject, data: bytes) -> None:
        if subject not in self._kept:
            self._kept_bytes += len(data)
        self._kept[subject] = data
        while self._kept_bytes > KEPT_BYTES:
            _, dropped = self._kept.popitem(last=False)
            self._kept_bytes -= len(dropped)
