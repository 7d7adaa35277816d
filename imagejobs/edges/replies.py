"""What kind of reply one is, by its status and its kind of content alone. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit

from imagejobs.edges.wire import Reply


def is_success(reply: Reply) -> bool:
    """2xx."""
    return 200 <= reply.status < 300


def is_stumble(reply: Reply) -> bool:
    """The server's own fault, or something in front of it."""
    return reply.status == 408 or not 200 <= reply.status < 500


def is_page(reply: Reply) -> bool:
    """Made for a browser, not for us."""
    return reply.headers.get("Content-Type", "").startswith("text/html")


def is_absent(reply: Reply) -> bool:
    """No such address: by status, or by a 200 with the front page.

    new-api serves its page for every path it does not know (github.com/QuantumNous/new-api router/web-router.go).
    """
    return reply.status in (404, 405, 410, 501) or (is_success(reply) and is_page(reply))


def host_of(address: str) -> str:
    """The host alone, for messages."""
    try:
        return urlsplit(address).netloc.rpartition("@")[2] or "another path"
    except ValueError:
        return "nowhere"
