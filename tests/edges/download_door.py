"""What tests of downloads share."""

from __future__ import annotations

import pytest

from imagejobs.edges.download import Downloader
from imagejobs.errors import Cause, Permanent
from imagejobs.settings import Settings

BYTES = bytes(range(256)) * 40


def open_door(base_url: str, *, read_seconds: float = 5) -> Downloader:
    return Downloader(Settings.read({}, REPLICATE_BASE_URL=base_url, IMAGEJOBS_READ_SECONDS=read_seconds))


def refusal(door: Downloader, url: str, *, max_bytes: int = 1000) -> str:
    """The text of the Permanent that a fetch ends with."""
    with pytest.raises(Permanent) as error:
        door.fetch(url, max_bytes=max_bytes)
    assert error.value.cause is Cause.DOWNLOAD
    return str(error.value)
