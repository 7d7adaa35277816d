"""The downloads' door: which addresses it fetches from, and which it refuses to touch."""

from __future__ import annotations

import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagejobs.edges.download import Downloader
from imagejobs.errors import Cause, Permanent, Transient
from tests.edges.download_door import BYTES, open_door, refusal
from tests.edges.scripted_host import ScriptedHost, answer
from tests.servers.requirement import require

PUBLIC, PRIVATE = "8.8.8.8", "10.0.0.1"
ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - to be refused, not to be bound
INSIDE_V4 = [
    PRIVATE,
    "127.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "224.0.0.1",
    ANY_ADDRESS,
]
INSIDE_V6 = ["::1", "::", "fe80::1", "fc00::1", "fec0::1", "ff02::1", "2001:db8::1"]
V4_IN_V6 = ["::ffff:8.8.8.8", "2002:a00:1::1", "2001:0:1::1", "64:ff9b::a00:1"]
OTHER_SCHEMES = [
    "http://127.0.0.1/a.png",
    "http://img.example/a.png",
    "ftp://h/a",
    "file:///etc/passwd",
    "x:",
    "h/a",
    "",
]
HALF_ADDRESSES = ["https://", "https://[h/a", "https://h:99999/a", "https:///a", "//h/a", "\ud800", "https://\ud800/a"]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[str]]]:
    """A resolver of the test's own: what each name resolves to, the first time, the second time …"""
    table: dict[str, list[list[str]]] = {}
    system = socket.getaddrinfo

    def resolve(name: str, port: int, *args: Any, **kwargs: Any) -> Any:
        if name not in table:
            return system(name, port, *args, **kwargs)
        answers = table[name]
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return table


@pytest.fixture
def routes(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """A network of the test's own: which port of this machine stands for an address. No route, no connection."""
    table: dict[str, int] = {}

    def connect(place: tuple[str, int], *args: Any, **kwargs: Any) -> socket.socket:
        if place[0] not in table:
            raise OSError(101, "Network is unreachable")
        return socket.create_connection(("127.0.0.1", table[place[0]]), timeout=5)

    monkeypatch.setattr("urllib3.util.connection.create_connection", connect)
    return table


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A certificate for img.example, trusted."""
    openssl = require("openssl")["openssl"]
    key, chain = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = [str(openssl), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-days", "2", "-subj", "/CN=img.example", "-addext", "subjectAltName=DNS:img.example"]
    files = ["-keyout", str(key), "-out", str(chain)]
    subprocess.run([*command, *names, *files], check=True, capture_output=True, timeout=30)
    monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", str(chain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    return context


def test_an_output_is_fetched_whole(host: ScriptedHost, local: Downloader) -> None:
    """And nothing of ours goes along: no token, no cookie, no referrer."""
    host.then(answer(200, BYTES, {"Set-Cookie": "a=b"}), answer(200, BYTES))

    assert local.fetch(f"{host.url}/out-0.png", max_bytes=len(BYTES)) == BYTES
    assert local.fetch(f"{host.url}/out-0.png", max_bytes=len(BYTES)) == BYTES
    sent = {line.partition(b":")[0] for line in host.requests[1].split(b"\r\n")[1:] if line}
    assert sent == {b"Host", b"User-Agent", b"Accept", b"Accept-Encoding", b"Connection"}
    assert host.connections == 1


def test_a_name_is_checked_connected_and_verified(
    names: dict[str, list[list[str]]],
    routes: dict[str, int],
    certificate: ssl.SSLContext,
    public: Downloader,
) -> None:
    """The connection goes to the address that was checked, while TLS verifies the name."""
    with ScriptedHost(answer(200, BYTES), tls=certificate) as host:
        names["img.example"] = [[PUBLIC], [PRIVATE]]  # the second answer comes too late to matter
        routes[PUBLIC] = host.port

        assert public.fetch("https://img.example/out-0.png", max_bytes=10**6) == BYTES
        assert b"Host: img.example\r\n" in host.requests[0]


def test_another_hosts_certificate_is_no_use(
    names: dict[str, list[list[str]]],
    routes: dict[str, int],
    certificate: ssl.SSLContext,
    public: Downloader,
) -> None:
    """A right address is not enough."""
    with ScriptedHost(answer(200, BYTES), tls=certificate) as host:
        names["other.example"] = [[PUBLIC]]
        routes[PUBLIC] = host.port
        with pytest.raises(Transient, match=r"cannot reach other\.example.*certificate verify failed"):
            public.fetch("https://other.example/out-0.png", max_bytes=10**6)

        assert host.requests == []


def test_the_next_address_is_tried(
    names: dict[str, list[list[str]]],
    routes: dict[str, int],
    certificate: ssl.SSLContext,
    public: Downloader,
) -> None:
    """A host with two addresses is up while one of them is."""
    with ScriptedHost(answer(200, BYTES), tls=certificate) as host:
        names["img.example"] = [["1.1.1.1", PUBLIC]]
        routes[PUBLIC] = host.port

        assert public.fetch("https://img.example/out-0.png", max_bytes=10**6) == BYTES


@pytest.mark.parametrize(
    "address",
    [*INSIDE_V4, *INSIDE_V6, *V4_IN_V6],
)
def test_inside_addresses_are_refused_before_a_connection(
    address: str, names: dict[str, list[list[str]]], routes: dict[str, int], public: Downloader
) -> None:
    """By name or by number, alone or beside a public one."""
    names["trick.example"] = [[PUBLIC, address]]
    urls = ["https://trick.example/a.png", f"https://[{address}]/a.png" if ":" in address else f"https://{address}/a"]

    assert all("not at an address" in refusal(public, url) for url in urls)


@pytest.mark.parametrize("host_name", ["2130706433", "0x7f.1", "127.1", "localhost", "localhost.", "[::ffff:7f00:1]"])
def test_odd_spellings_of_this_machine_are_refused(host_name: str, public: Downloader) -> None:
    """What counts is the address the system makes of it."""
    assert "not at an address" in refusal(public, f"https://{host_name}:1/a.png")


def test_beside_a_local_provider_http_stays_on_this_machine(
    names: dict[str, list[list[str]]], routes: dict[str, int], local: Downloader
) -> None:
    """The stand-in's exception opens no door to anywhere else; https follows its own rule."""
    names["img.example"] = [[PUBLIC]]

    assert "not at an address" in refusal(local, "http://img.example/a.png")
    assert "not at an address" in refusal(local, "https://127.0.0.1/a.png")


@pytest.mark.parametrize(
    "url",
    [*OTHER_SCHEMES, *HALF_ADDRESSES],
)
def test_only_https_addresses_are_fetched(url: str, public: Downloader) -> None:
    """Whatever else stands in an output is refused for good."""
    assert refusal(public, url)


def test_a_name_that_does_not_resolve_may_do_so_later(public: Downloader) -> None:
    """A resolver stumbles, too."""
    with pytest.raises(Transient, match=r"cannot reach nowhere\.invalid"):
        public.fetch("https://nowhere.invalid/a.png", max_bytes=10)


def test_a_name_that_cannot_exist_is_no_crash(public: Downloader) -> None:
    """A label of more than 63 characters."""
    with pytest.raises((Permanent, Transient)):
        public.fetch(f"https://{'a' * 70}.example/a.png", max_bytes=10)


def test_a_redirect_is_followed_by_hand(host: ScriptedHost, local: Downloader) -> None:
    """As file hosts do to their own storage; a relative address counts from the one before."""
    host.then(answer(302, b"", {"Location": "/moved"}), answer(307, b"", {"Location": f"{host.url}/again"}))
    host.then(answer(200, BYTES))

    assert local.fetch(f"{host.url}/out-0.png", max_bytes=10**6) == BYTES
    assert [b"/out-0.png", b"/moved", b"/again"] == [request.split(b" ")[1] for request in host.requests]


@pytest.mark.parametrize("target", ["https://10.0.0.1/a", "ftp://h/a", "file:///etc/passwd", "data:,x", "https://[h/"])
def test_a_redirect_is_checked_like_the_first_address(target: str, host: ScriptedHost, local: Downloader) -> None:
    """A trusted host may be made to point anywhere."""
    host.then(answer(302, b"", {"Location": target}))

    assert refusal(local, f"{host.url}/out-0.png")


def test_redirects_end(host: ScriptedHost, local: Downloader) -> None:
    """Five, then it is a loop."""
    host.then(*[answer(302, b"", {"Location": "/round"})] * 10)

    assert "more than 5 redirects" in refusal(local, f"{host.url}/out-0.png")
    assert len(host.requests) == 6


@given(st.text(max_size=60).flatmap(lambda tail: st.sampled_from([tail, f"https://{tail}", f"data:{tail}"])))
@settings(max_examples=60, deadline=None)
def test_no_address_is_too_odd(url: str) -> None:
    """Whatever stands in an output, a fetch ends as it says it does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", nothing_resolves)
        door = open_door("https://api.replicate.com")
        try:
            assert isinstance(door.fetch(url, max_bytes=1000), bytes)
        except (Permanent, Transient) as error:
            assert error.cause is Cause.DOWNLOAD  # noqa: PT017 - either kind will do
        door.close()


def nothing_resolves(*_: Any, **__: Any) -> Any:
    raise socket.gaierror(-2, "Name or service not known")
