"""The downloads' door: what it fetches, what it refuses to touch, and what each fault of the wire means."""

from __future__ import annotations

import base64
import gzip
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagejobs.edges.download import Downloader, Gone
from imagejobs.errors import Cause, Permanent, Transient
from imagejobs.settings import Settings
from tests.edges.scripted_host import Act, ScriptedHost, answer, hang_up, raw, reset, then_hang_up
from tests.servers.ports import free_port
from tests.servers.requirement import require

BYTES = bytes(range(256)) * 40
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


def open_door(base_url: str, *, read_seconds: float = 5) -> Downloader:
    return Downloader(Settings.read({}, REPLICATE_BASE_URL=base_url, IMAGEJOBS_READ_SECONDS=read_seconds))


@pytest.fixture
def local() -> Iterator[Downloader]:
    """The door as it stands when the provider is on loopback."""
    door = open_door("http://127.0.0.1:1")
    yield door
    door.close()


@pytest.fixture
def public() -> Iterator[Downloader]:
    """The door as it stands in production."""
    door = open_door("https://api.replicate.com")
    yield door
    door.close()


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


def refusal(door: Downloader, url: str, *, max_bytes: int = 1000) -> str:
    """The text of the Permanent that a fetch ends with."""
    with pytest.raises(Permanent) as error:
        door.fetch(url, max_bytes=max_bytes)
    assert error.value.cause is Cause.DOWNLOAD
    return str(error.value)


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


@pytest.mark.parametrize("status", [404, 410])
def test_a_deleted_output_is_gone(status: int, host: ScriptedHost, local: Downloader) -> None:
    """Copying again would be in vain."""
    host.then(answer(status, b"not here"))
    with pytest.raises(Gone):
        local.fetch(f"{host.url}/secret-path/out-0.png", max_bytes=10**6)


@pytest.mark.parametrize("status", [403, 401, 400, 408, 429, 500, 503, 204, 206, 304])
def test_any_other_status_may_pass(status: int, host: ScriptedHost, local: Downloader) -> None:
    """A 403 too: a firewall says it of images that are still there. The wait is passed on, the address is not."""
    host.then(answer(status, b"", {"Retry-After": "9"}))
    with pytest.raises(Transient) as error:
        local.fetch(f"{host.url}/secret-path/out-0.png", max_bytes=10**6)

    assert (Cause.DOWNLOAD, 9.0) == (error.value.cause, error.value.after_seconds)
    assert "secret-path" not in str(error.value)


FAULTS: dict[str, Act] = {
    "closed": hang_up,
    "reset": reset,
    "silent": lambda _: None,
    "short body": then_hang_up(answer(200, BYTES, {"Content-Length": str(len(BYTES) + 1)})),
    "short chunks": then_hang_up(answer(200, b"4\r\nabcd\r\n", {"Content-Length": "", "Transfer-Encoding": "chunked"})),
    "bad gzip": answer(200, BYTES, {"Content-Encoding": "gzip"}),
    "no http": then_hang_up(raw(b"220 smtp ready\r\n")),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_reply_is_transient(fault: str) -> None:
    """A body that is not whole is never handed on."""
    with ScriptedHost(FAULTS[fault]) as host:
        door = open_door(host.url, read_seconds=0.1)
        with pytest.raises(Transient) as error:
            door.fetch(f"{host.url}/out-0.png", max_bytes=10**6)
        door.close()

    assert error.value.cause is Cause.DOWNLOAD


def test_nobody_there_is_transient(local: Downloader) -> None:
    """A refused connection."""
    with pytest.raises(Transient, match="cannot reach"):
        local.fetch(f"http://127.0.0.1:{free_port()}/a.png", max_bytes=10)


def test_a_dripping_body_ends(host: ScriptedHost) -> None:
    """A byte within every read time-out does not hold a thread for ever."""
    drip = host.drip(b"x" * 1000, every_seconds=0.02)
    host.then(lambda peer: (peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"), drip(peer))[1])
    door = open_door(host.url, read_seconds=0.1)
    before = time.monotonic()
    with pytest.raises(Transient):
        door.fetch(f"{host.url}/out-0.png", max_bytes=10**6)
    door.close()

    assert time.monotonic() - before < 2


ENDLESS: dict[str, Act] = {
    "announced": answer(200, b"", {"Content-Length": str(10**12)}),
    "unannounced": then_hang_up(raw(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5000)),
    "chunked": then_hang_up(
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n" + b"x" * 2000 + b"\r\n")
    ),
    "unpacked": answer(200, gzip.compress(bytes(10**6)), {"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_too_large_is_refused_for_good(kind: str, local: Downloader) -> None:
    """However the size is hidden."""
    with ScriptedHost(ENDLESS[kind]) as host:
        text = refusal(local, f"{host.url}/out-0.png")

    assert "more than 1000" in text


def test_a_body_longer_than_announced_is_cut_there(host: ScriptedHost, local: Downloader) -> None:
    """HTTP says where it ends; what follows is not read as part of it."""
    host.then(then_hang_up(answer(200, b"12345678", {"Content-Length": "5"})))

    assert local.fetch(f"{host.url}/a", max_bytes=10) == b"12345"


@pytest.mark.parametrize(
    "uri",
    [
        "data:image/png;base64," + base64.b64encode(BYTES).decode(),
        "DATA:;BASE64," + base64.urlsafe_b64encode(BYTES).decode().rstrip("="),
        "data:image/png;base64," + base64.encodebytes(BYTES).decode(),
        "data:image/png;base64," + base64.b64encode(BYTES).decode().replace("+", "%2B"),
    ],
)
def test_a_data_uri_is_its_own_content(uri: str, public: Downloader) -> None:
    """In either alphabet, padded or not, on one line or many."""
    assert public.fetch(uri, max_bytes=len(BYTES)) == BYTES


def test_a_data_uri_need_not_be_base64(public: Downloader) -> None:
    """Percent-encoded (RFC 2397)."""
    assert public.fetch("data:,a%00b", max_bytes=10) == b"a\x00b"


@pytest.mark.parametrize(
    "uri", ["data:", "data:image/png;base64", "data:;base64,A", "data:," + "x" * 11, "data:,%F" * 9]
)
def test_a_broken_or_long_data_uri_is_refused_for_good(uri: str, public: Downloader) -> None:
    """It will say the same tomorrow."""
    assert refusal(public, uri, max_bytes=10)


def test_a_long_base64_uri_is_refused_for_good(public: Downloader) -> None:
    """Bytes count, not characters."""
    uri = "data:;base64," + base64.b64encode(b"x" * 11).decode()

    assert "11 bytes, more than 10" in refusal(public, uri, max_bytes=10)


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


def test_a_broken_body_is_caught_whatever_is_cut(host: ScriptedHost, local: Downloader) -> None:
    """At any length, a truncated download raises rather than returns."""
    cut: Callable[[int], Act] = lambda n: then_hang_up(answer(200, BYTES[:n], {"Content-Length": str(len(BYTES))}))  # noqa: E731
    host.then(*map(cut, (0, 1, 8192, len(BYTES) - 1)))
    for _ in range(4):
        with pytest.raises(Transient):
            local.fetch(f"{host.url}/a", max_bytes=10**6)
