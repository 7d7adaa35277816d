"""Where outputs are fetched from, and where they are put."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from imagejobs.edges.download import Gone
from imagejobs.edges.store import Stat
from imagejobs.errors import Cause, Permanent, Refused, Transient
from tests.simulation.provider import SimulatedProvider, picture
from tests.simulation.weather import Weather
from tests.simulation.world import World

ON_ITS_WAY_SECONDS = 60.0  # a write that takes longer was frozen in the middle: only `verify` can tell then


@dataclass
class SimulatedDownloader:
    """As `imagejobs.edges.download.Downloader`."""

    world: World
    weather: Weather
    provider: SimulatedProvider

    def fetch(self, url: str, *, max_bytes: int) -> bytes:
        """The bytes, or some of them."""
        self.world.pause(f"fetch {url[20:]}", self.weather.choices.between("fetch", 0.0, 1.0))
        made = self.provider.made[int(url.split("/")[3][1:]) - 1]
        if self.weather.strikes("output_gone"):
            made.gone_at = self.world.now
        if not made.keeps(self.world.now):
            raise Gone("404")
        if self.weather.strikes("download_fails"):
            raise Transient("503", cause=Cause.DOWNLOAD)
        data = picture(url)
        self.world.pause(f"fetched {url[20:]}")
        return data[: len(data) // 2] if self.weather.strikes("download_cut") else data


@dataclass
class SimulatedStore:
    """As `imagejobs.edges.store.Store`."""

    world: World
    weather: Weather
    refuses_until: float = 0.0
    objects: dict[str, bytes] = field(default_factory=dict)
    late: set[str] = field(default_factory=set)  # written by somebody who slept between the last check and the write

    def put(self, key: str, data: bytes, *, content_type: str, sha256: str) -> str:
        """Whole or not at all."""
        began = self.world.now
        self._call(f"put {key}")
        if self.world.now - began > ON_ITS_WAY_SECONDS:
            self.late.add(key)
        self.objects[key] = data
        if self.weather.strikes("store_unheard"):
            raise Transient("timed out", cause=Cause.STORAGE)
        return self.uri(key)

    def put_file(self, key: str, path: Path, content_type: str) -> str:
        """The same, from a file."""
        return self.put(key, path.read_bytes(), content_type=content_type, sha256="")

    def get(self, key: str) -> bytes:
        """Raises Permanent where there is none."""
        self._call(f"get {key}")
        if key not in self.objects:
            raise Permanent("404", cause=Cause.STORAGE)
        return self.objects[key]

    def stat(self, key: str) -> Stat | None:
        """Length and hash."""
        self._call(f"stat {key}")
        data = self.objects.get(key)
        return None if data is None else Stat(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())

    def delete(self, key: str) -> None:
        """None there is as good."""
        self._call(f"delete {key}")
        self.objects.pop(key, None)

    def uri(self, key: str) -> str:
        """Names it."""
        return f"file:///simulated/{key}"

    def _call(self, label: str) -> None:
        slow = self.weather.strikes("store_slow")
        self.world.pause(label, self.weather.choices.between("store", 0.0, 40.0) if slow else 0.0)
        if self.refuses_until > self.world.now:
            raise Refused("AccessDenied", cause=Cause.STORAGE)
        if self.weather.strikes("store_fails"):
            raise Transient("SlowDown", cause=Cause.STORAGE)
