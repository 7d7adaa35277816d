"""Faults of the stand-in provider's files: what a download may meet."""

from __future__ import annotations

import io
import warnings
from typing import Any

import pytest
import requests
from PIL import Image

from tests.servers.sandbox import STABLE_DIFFUSION, SandboxServer

SMALL = {"prompt": "a hill", "width": 256, "height": 256}


def post(server: SandboxServer, **given: Any) -> requests.Response:
    return server.call("POST", "predictions", json={"version": STABLE_DIFFUSION, "input": {**SMALL, **given}})


class TestDownload:
    """Faults of downloads."""

    @pytest.fixture
    def address(self, server: SandboxServer) -> str:
        """Of a finished picture, downloaded once without fault."""
        address: str = server.finished(post(server).json()["id"])["output"][0]
        assert b"\x89PNG" == requests.get(address, timeout=10).content[:4]
        return address

    def fetched(self, server: SandboxServer, address: str, kind: str, **parameters: Any) -> requests.Response:
        server.faults([{"on": "file", "kind": kind, **parameters}])
        return requests.get(address, timeout=10, allow_redirects=False)

    def test_truncate(self, server: SandboxServer, address: str) -> None:
        """The connection ends short of the declared length."""
        with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
            self.fetched(server, address, "truncate")

    def test_wrong_length(self, server: SandboxServer, address: str) -> None:
        """The declared length is itself too short: only the picture shows it."""
        reply = self.fetched(server, address, "wrong_length")

        assert int(reply.headers["Content-Length"]) == len(reply.content)
        with pytest.raises((SyntaxError, OSError)):
            Image.open(io.BytesIO(reply.content)).verify()

    def test_no_length(self, server: SandboxServer, address: str) -> None:
        """A whole picture of no declared length."""
        reply = self.fetched(server, address, "no_length")
        Image.open(io.BytesIO(reply.content)).load()

        assert "Content-Length" not in reply.headers

    def test_html(self, server: SandboxServer, address: str) -> None:
        """An error page that says 200."""
        reply = self.fetched(server, address, "html")

        assert (200, "text/html") == (reply.status_code, reply.headers["Content-Type"])

    def test_corrupt(self, server: SandboxServer, address: str) -> None:
        """As long as it should be, and broken."""
        reply = self.fetched(server, address, "corrupt")

        with pytest.raises(SyntaxError):
            Image.open(io.BytesIO(reply.content)).verify()

    def test_bomb(self, server: SandboxServer, address: str) -> None:
        """A few bytes that claim billions of pixels."""
        reply = self.fetched(server, address, "bomb", side=60_000)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with pytest.raises(Image.DecompressionBombError):
                Image.open(io.BytesIO(reply.content))

        assert len(reply.content) < 200

    def test_huge(self, server: SandboxServer, address: str) -> None:
        """As many bytes as wanted."""
        reply = self.fetched(server, address, "huge", bytes=20_000_000)

        assert (20_000_000, b"\x89PNG") == (len(reply.content), reply.content[:4])

    def test_wrong_size(self, server: SandboxServer, address: str) -> None:
        """A sound picture, not of the size asked for."""
        reply = self.fetched(server, address, "wrong_size")

        assert (128, 128) == Image.open(io.BytesIO(reply.content)).size

    def test_redirect(self, server: SandboxServer, address: str) -> None:
        """To where a download must not go."""
        reply = self.fetched(server, address, "redirect", url="http://169.254.169.254/latest")

        assert (302, "http://169.254.169.254/latest") == (reply.status_code, reply.headers["Location"])

    @pytest.mark.parametrize(("kind", "status"), [("gone", 404), ("status", 500)])
    def test_refusals(self, server: SandboxServer, address: str, kind: str, status: int) -> None:
        """Gone for good, or for now; counted apart from what was served."""
        assert status == self.fetched(server, address, kind).status_code
        assert (1, {str(status): 1}) == (server.stats()["files"], server.stats()["files_refused"])

    @pytest.mark.parametrize("kind", ["reset", "reset_after"])
    def test_reset(self, server: SandboxServer, address: str, kind: str) -> None:
        """Before a byte came."""
        with pytest.raises(requests.ConnectionError):
            self.fetched(server, address, kind)

    def test_a_token_sent_to_the_files_is_counted(self, server: SandboxServer, address: str) -> None:
        """A client must not give its token to whatever host an output names."""
        requests.get(address, headers={"Authorization": "Bearer secret"}, timeout=10)

        assert 1 == server.stats()["files_with_token"]
