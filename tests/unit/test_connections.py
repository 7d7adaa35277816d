"""Where an address leads: read by requests once for each host, and always the same."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from imagejobs.edges.connections import Connections


@pytest.fixture
def connections() -> Iterator[Connections]:
    """To any host; nothing is connected to."""
    with closing(Connections(threads=1)) as opened:
        yield opened


@given(
    host=st.sampled_from(["replicate.delivery", "127.0.0.1:8000", "a-b.c:443", "host"]),
    path=st.text(alphabet="aZ0_-.~=/%?#+&; @:é", max_size=12),
)
@example(host="replicate.delivery", path="pbxt/aZ0/out-0.png")
@example(host="host", path="a/../b")
@example(host="host", path="a//b/.")
def test_a_host_that_is_known_changes_nothing(host, path):
    """The short way is for addresses of which requests' own reading says the same."""
    with closing(Connections(threads=1)) as connections:
        address = f"https://{host}/{path}"
        first, again = connections.place(address, None), connections.place(address, None)
        whole = connections._read(address)

    assert first == again == whole


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("https://host", "/"),
        ("https://host?a=b", "/?a=b"),
        ("HTTPS://HOST/a", "/a"),
        ("https://host/a#b", "/a"),
        ("https://host/a b", "/a%20b"),
        ("https://host/%7Ea", "/~a"),
        ("https://[::1]:8000/a", "/a"),
    ],
)
def test_an_odd_address_is_read_by_requests(connections, address, path):
    """Quoted, resolved and shortened as a browser does it."""
    assert path == connections.place(address, None).path


def test_who_asks_is_said_by_an_address_that_names_him(connections):
    """And by that address alone."""
    named, other = connections.place("https://me:secret@host/a", None), connections.place("https://host/a", None)

    assert ("Basic bWU6c2VjcmV0", {}) == (named.headers["Authorization"], other.headers)


def test_a_query_is_added(connections):
    """Quoted."""
    assert "/a?b=c%3Ad" == connections.place("https://host/a", {"b": "c:d"}).path


@pytest.mark.parametrize("address", ["ftp://host/a", "host/a", "https:///a", "data:,x", "https://[h/"])
def test_an_address_that_leads_nowhere_is_an_error(connections, address):
    """And no host is taken for known."""
    with pytest.raises(ValueError, match=r".+"):
        connections.place(address, None)


def test_at_the_end_no_connections_are_kept(connections):
    """A pool that nobody has any more closes its own."""
    pool = weakref.ref(connections.place("https://host/a", None).pool)
    gc.collect()
    meanwhile = pool()
    assert meanwhile is connections.place("https://host/b", None).pool

    del meanwhile
    connections.close()
    gc.collect()

    assert pool() is None
