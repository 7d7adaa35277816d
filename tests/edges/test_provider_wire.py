"""The provider's door on a real socket: what each fault of the wire, and each status, means for a create and a read."""

from __future__ import annotations

import gzip
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagejobs.clock import SystemClock
from imagejobs.edges import wire
from imagejobs.edges.dialects import ImagesAnswer, Page, Prediction
from imagejobs.edges.provider import AccountCheck, NotListed, Provider
from imagejobs.errors import BadSetting, Cause, NotSent, OutcomeUnknown, Permanent, Refused, Throttled, Transient
from imagejobs.settings import Settings
from tests.edges.scripted_host import Act, ScriptedHost, answer, hang_up, raw, reset, then_hang_up
from tests.servers.ports import free_port
from tests.servers.requirement import require
from tests.servers.waiting import eventually

TOKEN = "r8_SecretSecretSecret"
STARTING = {"id": "p1", "status": "starting"}


@pytest.fixture
def host() -> Iterator[ScriptedHost]:
    """A host that does as it is told."""
    with ScriptedHost() as host:
        yield host


@pytest.fixture
def open_provider() -> Iterator[Callable[..., Provider]]:
    """Doors, closed at the end of the test."""
    opened: list[Provider] = []

    def open_one(base_url: str, *, read_seconds: float = 5, token: str = TOKEN) -> Provider:
        facts = {"REPLICATE_BASE_URL": base_url, "REPLICATE_API_TOKEN": token, "IMAGEJOBS_READ_SECONDS": read_seconds}
        opened.append(Provider(Settings.read({}, **facts), clock=SystemClock()))
        return opened[-1]

    yield open_one
    for provider in opened:
        provider.close()


@pytest.fixture
def provider(host: ScriptedHost, open_provider: Callable[..., Provider]) -> Provider:
    """The door to that host."""
    return open_provider(host.url)


def create(provider: Provider, **changes: Any) -> Prediction | ImagesAnswer:
    facts = {"version": "o/n:abc", "input": {"prompt": "né", "seed": 7}, "cancel_after_seconds": 90.2}
    return provider.create(**{**facts, **changes})


def text_of(error: pytest.ExceptionInfo[Exception]) -> str:
    return str(error.value)


def test_a_create_is_one_plain_post(host: ScriptedHost, provider: Provider) -> None:
    """Path, token, deadline and body are as documented, and nothing else is said."""
    host.then(answer(201, STARTING))

    assert Prediction(id="p1", status="starting") == create(provider)
    head, _, body = host.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/predictions HTTP/1.1\r\n")
    assert b"Authorization: Bearer r8_SecretSecretSecret" in head
    assert b"Cancel-After: 91s" in head
    assert body == b'{"version": "o/n:abc", "input": {"prompt": "n\\u00e9", "seed": 7}}'


def test_the_shortest_deadline_is_five_seconds(host: ScriptedHost, provider: Provider) -> None:
    """The provider refuses a shorter one."""
    host.then(answer(201, STARTING))
    create(provider, cancel_after_seconds=0.5)

    assert b"Cancel-After: 5s\r\n" in host.requests[0]


def test_a_base_url_with_a_path_keeps_it(host: ScriptedHost, open_provider: Callable[..., Provider]) -> None:
    """As with a proxy under /replicate."""
    host.then(answer(200, {"created": 1, "data": [{"url": "https://h/0.png"}]}))
    provider = open_provider(f"{host.url}/replicate/")

    assert ImagesAnswer(outputs=("https://h/0.png",), created_at=1.0) == create(provider)
    assert host.requests[0].startswith(b"POST /replicate/v1/predictions ")


def test_an_input_that_is_no_json_is_never_sent(host: ScriptedHost, provider: Provider) -> None:
    """The spec can never pass."""
    with pytest.raises(Permanent) as error:
        create(provider, input={"guidance_scale": float("nan")})

    assert (Cause.INPUT, []) == (error.value.cause, host.requests)


def test_a_refused_connection_was_not_sent(open_provider: Callable[..., Provider]) -> None:
    """Nobody listens, so nobody was paid."""
    with pytest.raises(NotSent) as error:
        create(open_provider(f"http://127.0.0.1:{free_port()}"))

    assert text_of(error) == "cannot reach 127.0.0.1: Connection refused"


def test_an_unknown_name_was_not_sent(open_provider: Callable[..., Provider]) -> None:
    """`.invalid` never resolves (RFC 6761)."""
    with pytest.raises(NotSent, match=r"cannot reach nowhere\.invalid"):
        create(open_provider("https://nowhere.invalid"))


def test_a_certificate_that_does_not_verify_was_not_sent(
    tmp_path: Path, open_provider: Callable[..., Provider]
) -> None:
    """The handshake fails before the request, and so the token, leaves."""
    with ScriptedHost(answer(201, STARTING), tls=self_signed(tmp_path)) as host:
        with pytest.raises(NotSent, match="certificate verify failed"):
            create(open_provider(host.url))

        assert host.requests == []


def test_a_handshake_that_never_ends_was_not_sent(
    host: ScriptedHost, open_provider: Callable[..., Provider], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port that accepts and then says nothing."""
    monkeypatch.setattr(wire, "TRY_SECONDS", 0.1)
    with pytest.raises(NotSent, match="timed out"):
        create(open_provider(host.url.replace("http:", "https:")))


def test_a_create_is_not_sent_late(
    host: ScriptedHost, open_provider: Callable[..., Provider], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looks for a lost create counts on it: behind a slow resolver it is not sent at all."""
    system = socket.getaddrinfo

    def resolve_slowly(*args: Any, **kwargs: Any) -> Any:
        host.over.wait(0.1)
        return system(*args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_slowly)
    monkeypatch.setattr(wire, "CONNECT_SECONDS", 0.05)
    with pytest.raises(NotSent, match=r"not within 0\.05 s"):
        create(open_provider(host.url))

    assert host.requests == []


def self_signed(folder: Path) -> ssl.SSLContext:
    openssl = require("openssl")["openssl"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    command = [str(openssl), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, *files, *names], check=True, capture_output=True, timeout=30)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


LOST = {
    "closed": hang_up,
    "reset": reset,
    "silent": lambda _: None,
    "half a header": then_hang_up(raw(b"HTTP/1.1 201 Created\r\nContent-")),
    "half a body": then_hang_up(answer(201, b'{"id": "p1", ', {"Content-Length": "40"})),
    "a broken chunk": then_hang_up(answer(201, b"zz\r\n", {"Content-Length": "", "Transfer-Encoding": "chunked"})),
    "no http": then_hang_up(raw(b"SSH-2.0-OpenSSH_9.2\r\n")),
    "bad gzip": answer(201, b"nonsense", {"Content-Encoding": "gzip"}),
    "two lengths": answer(201, STARTING, {"Content-Length": "2, 3"}),
}


@pytest.mark.parametrize("fault", LOST)
def test_a_create_without_a_whole_reply_is_unknown(fault: str, open_provider: Callable[..., Provider]) -> None:
    """It may have been accepted; it is sent once, and never again."""
    with ScriptedHost(LOST[fault], answer(201, STARTING)) as host:
        with pytest.raises(OutcomeUnknown):
            create(open_provider(host.url, read_seconds=0.1))

        assert eventually(lambda: len(host.requests) == 1)


@pytest.mark.parametrize("fault", LOST)
def test_a_read_without_a_whole_reply_may_be_repeated(fault: str, open_provider: Callable[..., Provider]) -> None:
    """It cost nothing."""
    with ScriptedHost(LOST[fault]) as host, pytest.raises(Transient):
        open_provider(host.url, read_seconds=0.1).get("p1")


@pytest.mark.parametrize("part", ["headers", "body"])
def test_a_reply_that_drips_ends(part: str, open_provider: Callable[..., Provider]) -> None:
    """The read time-out is for the whole of it: whoever looks for a lost create counts on that."""
    with ScriptedHost() as host:
        drip = host.drip(b"X-Padding: 1\r\n" * 100, every_seconds=0.02)
        begin = b"HTTP/1.1 200 OK\r\n" + (b"Content-Length: 1400\r\n\r\n" if part == "body" else b"")
        host.then(lambda peer: (peer.sendall(begin), drip(peer))[1])
        before = time.monotonic()
        with pytest.raises(OutcomeUnknown):
            create(open_provider(host.url, read_seconds=0.1))

        assert time.monotonic() - before < 1


@pytest.mark.parametrize("status", [500, 502, 503, 504, 524, 408])
def test_a_server_error_leaves_a_create_unknown(status: int, host: ScriptedHost, provider: Provider) -> None:
    """Proxies answer 5xx for predictions that were made and will be billed."""
    host.then(answer(status, b"<html>Bad Gateway"))
    with pytest.raises(OutcomeUnknown, match=f"answered {status}: <html>Bad Gateway"):
        create(provider)


@pytest.mark.parametrize("body", [{"error": {"message": "boom"}}, {"id": "p1"}, {"data": [{}]}, [], b"", b"\xff\x00"])
def test_a_success_that_makes_no_sense_leaves_a_create_unknown(
    body: Any, host: ScriptedHost, provider: Provider
) -> None:
    """The raw body is kept, so that a person can judge."""
    host.then(answer(201, body))
    with pytest.raises(OutcomeUnknown, match="nothing usable") as error:
        create(provider)

    assert len(text_of(error)) < 600


def test_a_web_page_hints_at_the_base_url(host: ScriptedHost, provider: Provider) -> None:
    """Some proxies answer every path they do not know with their front page, and 200."""
    host.then(answer(200, b"<!doctype html>", {"Content-Type": "text/html; charset=utf-8"}))
    with pytest.raises(OutcomeUnknown, match="is REPLICATE_BASE_URL right"):
        create(provider)


def test_an_endless_reply_is_cut_off(host: ScriptedHost, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded, also for a small body that unpacks to a large one."""
    monkeypatch.setattr("imagejobs.edges.provider.MAX_REPLY_BYTES", 1000)
    host.then(
        answer(201, b"x" * 2000),
        answer(201, gzip.compress(b"x" * 100_000), {"Content-Encoding": "gzip"}),
    )
    for _ in range(2):
        with pytest.raises(OutcomeUnknown, match="more than 1000"):
            create(provider)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, {"title": "Unauthenticated", "detail": "You did not pass a valid authentication token", "status": 401}),
        (402, {"title": "Insufficient credit", "detail": "You have insufficient credit", "status": 402}),
        (403, {"error": {"message": "not yours", "code": "access_denied"}}),
        (429, {"error": {"message": "quota", "code": "insufficient_user_quota"}}),
        (404, b"404 page not found"),
        (405, b""),
    ],
)
def test_an_account_or_address_refused_pauses(status: int, body: Any, host: ScriptedHost, provider: Provider) -> None:
    """None of these is the fault of a spec: nobody fails, in the provider's own words."""
    host.then(answer(status, body))
    with pytest.raises(Refused, match=f"answered {status}") as error:
        create(provider)

    assert error.value.cause is Cause.AUTH_BILLING


@pytest.mark.parametrize("status", [400, 404, 409, 413, 422])
def test_an_input_refused_is_permanent(status: int, host: ScriptedHost, provider: Provider) -> None:
    """The fields complained of are in the text."""
    fields = [{"field": "input.width", "description": "must be one of 128, 256"}]
    host.then(answer(status, {"title": "Input validation failed", "invalid_fields": fields}))
    with pytest.raises(Permanent, match=r"Input validation failed; input\.width: must be one of") as error:
        create(provider)

    assert error.value.cause is Cause.INPUT


def test_a_status_counts_even_when_its_body_is_lost(host: ScriptedHost, provider: Provider) -> None:
    """A refusal is a refusal, whatever became of the words."""
    host.then(then_hang_up(answer(402, b"", {"Content-Length": "50"})))
    with pytest.raises(Refused, match="answered 402"):
        create(provider)


def test_throttling_carries_the_wait(host: ScriptedHost, provider: Provider) -> None:
    """Creates and reads alike."""
    host.then(answer(429, {"detail": "slow", "retry_after": 5}), answer(429, b"", {"Retry-After": "7"}))
    with pytest.raises(Throttled) as first:
        create(provider)
    with pytest.raises(Throttled) as second:
        provider.get("p1")

    assert (5.0, 7.0) == (first.value.after_seconds, second.value.after_seconds)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(status: int, host: ScriptedHost, provider: Provider) -> None:
    """The token stays with the base URL's host; a person is told where it wanted to lead."""
    with ScriptedHost() as other:
        location = {"Location": f"http://user:pass@localhost:{other.port}/v1/predictions"}
        host.then(answer(status, b"", location), answer(status, b"", location))
        with pytest.raises(Refused, match=rf"redirects to localhost:{other.port}: set REPLICATE_BASE_URL"):
            create(provider)
        with pytest.raises(Refused, match="redirects"):
            provider.get("p1")

        assert other.connections == 0


def test_a_redirects_body_is_bounded(host: ScriptedHost, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """requests would read it whole to learn where it leads."""
    monkeypatch.setattr("imagejobs.edges.provider.MAX_REPLY_BYTES", 1000)
    endless = b"HTTP/1.1 302 Found\r\nLocation: /x\r\nConnection: close\r\n\r\n" + b"x" * 10_000
    host.then(lambda peer: (peer.sendall(endless), host.over.wait(5))[0])
    with pytest.raises(Refused, match="redirects to another path"):
        create(provider)


def test_the_token_is_cut_out_of_what_a_proxy_says(host: ScriptedHost, provider: Provider) -> None:
    """Some repeat the key they were given."""
    complaint = answer(401, {"error": {"message": f"Incorrect API key provided: {TOKEN}"}})
    host.then(complaint, complaint, answer(201, f"no such key {TOKEN}".encode()))
    with pytest.raises(Refused) as first:
        create(provider)
    with pytest.raises(Refused) as second:
        provider.get("p1")
    with pytest.raises(OutcomeUnknown) as third:
        create(provider)

    assert all(TOKEN not in text_of(error) for error in (first, second, third))
    assert TOKEN not in repr(provider)


@pytest.mark.parametrize("status", [201, 401, 422])
def test_the_token_is_cut_out_however_json_writes_it(host: ScriptedHost, provider: Provider, status: int) -> None:
    """Escaped, as some encoders write every letter, and in what a failed prediction says."""
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in TOKEN)
    body = f'{{"id": "p1", "status": "failed", "detail": "bad key {escaped}", "error": "bad key {escaped}"}}'
    host.then(answer(status, body.encode(), {"Content-Type": "application/json"}))
    try:
        said = repr(create(provider))
    except (Permanent, Refused) as error:
        said = str(error)

    assert "bad key [token]" in said
    assert TOKEN not in said


def test_a_length_of_thousands_of_digits_is_too_long(host: ScriptedHost, provider: Provider) -> None:
    """Python refuses to read such a number: the reply must not be what breaks the worker."""
    host.then(answer(200, b"{}", {"Content-Length": "9" * 5000}))
    with pytest.raises(Transient):
        provider.get("p1")


def test_a_date_that_is_years_off_is_no_clock(host: ScriptedHost, provider: Provider) -> None:
    """The list would be asked for what comes after it, and prove that nothing is there."""
    odd = {"Date": "Fri, 31 Dec 9999 23:59:59 GMT"}
    host.then(answer(201, STARTING, odd), answer(200, {"results": []}, odd))
    create(provider)
    provider.list(created_after=1000.0)

    assert b"created_after=1970-01-01T00%3A16%3A40" in host.requests[-1]


def test_a_token_no_header_can_carry_is_a_bad_setting(open_provider: Callable[..., Provider]) -> None:
    """A pasted line break would end up in an error text, token and all."""
    for token in ("r8_one\nr8_two", "r8_é", "r8 x"):
        with pytest.raises(BadSetting) as error:
            open_provider("http://127.0.0.1:9", token=token)

        assert token not in text_of(error)


def test_a_line_break_after_the_token_does_no_harm(host: ScriptedHost, open_provider: Callable[..., Provider]) -> None:
    """As `$(cat token.txt)` or a mounted secret leaves it."""
    host.then(answer(201, STARTING))
    create(open_provider(host.url, token=f"{TOKEN}\n"))

    assert f"Authorization: Bearer {TOKEN}\r\n".encode() in host.requests[0]


def test_the_environment_is_not_obeyed(
    host: ScriptedHost, provider: Provider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither a proxy nor a .netrc gets between the token and its host."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{free_port()}")
    host.then(answer(201, STARTING))
    create(provider)

    assert b"Authorization: Bearer r8_" in host.requests[0]


def test_cookies_are_not_kept(host: ScriptedHost, provider: Provider) -> None:
    """A door remembers nothing of the last call."""
    host.then(answer(201, STARTING, {"Set-Cookie": "a=b"}), answer(201, STARTING))
    create(provider)
    create(provider)

    assert b"Cookie" not in host.requests[1]


def test_a_connection_is_used_again(host: ScriptedHost, provider: Provider) -> None:
    """A handshake for each of four hundred thousand calls would be a waste."""
    host.then(*[answer(201, STARTING)] * 3, answer(422, {"detail": "no"}), answer(201, STARTING))
    for _ in range(3):
        create(provider)
    with pytest.raises(Permanent):
        create(provider)
    create(provider)

    assert host.connections == 1


def test_a_connection_that_rested_is_not_used_for_a_create(
    host: ScriptedHost, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be closed from the other side at this very moment, and the reply would be lost with it."""
    monkeypatch.setattr(wire, "REUSE_SECONDS", -1)
    host.then(answer(201, STARTING), answer(201, STARTING))
    create(provider)
    create(provider)

    assert host.connections == 2


def test_a_connection_closed_meanwhile_is_replaced(host: ScriptedHost, provider: Provider) -> None:
    """The close has arrived, so nothing is lost by it."""
    closed = threading.Event()
    host.then(lambda peer: (then_hang_up(answer(201, STARTING))(peer), closed.set())[1], answer(201, STARTING))
    create(provider)
    assert closed.wait(5)

    assert Prediction(id="p1", status="starting") == create(provider)


def test_an_id_is_quoted(host: ScriptedHost, provider: Provider) -> None:
    """Whatever a proxy calls its predictions, it stays one part of the path."""
    host.then(answer(200, STARTING))
    provider.get("../a b?c")

    assert host.requests[0].startswith(b"GET /v1/predictions/..%2Fa%20b%3Fc HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("reply", "error", "cause"),
    [
        (answer(404, {"detail": "not found"}), Permanent, Cause.EXPIRED),
        (answer(410, b""), Permanent, Cause.EXPIRED),
        (answer(404, b"404 page not found"), Refused, Cause.AUTH_BILLING),
        (answer(400, {"detail": "odd id"}), Permanent, Cause.UNKNOWN),
        (answer(502, b""), Transient, Cause.TRANSIENT),
        (answer(200, {"id": "p1"}), Transient, Cause.TRANSIENT),
        (answer(200, b"<html>"), Transient, Cause.TRANSIENT),
        (answer(401, b""), Refused, Cause.AUTH_BILLING),
    ],
)
def test_what_a_get_may_meet(
    reply: Act, error: type[Exception], cause: Cause, host: ScriptedHost, provider: Provider
) -> None:
    """Only a record that the API itself says is gone counts as expired: that leads to paying again."""
    host.then(reply)
    with pytest.raises(error) as caught:
        provider.get("p1")

    assert cause is caught.value.cause  # type: ignore[attr-defined]


def test_a_stumble_may_say_when_to_come_back(host: ScriptedHost, provider: Provider) -> None:
    """As with a 503 during maintenance."""
    host.then(answer(503, b"", {"Retry-After": "20"}))
    with pytest.raises(Transient) as error:
        provider.get("p1")

    assert error.value.after_seconds == 20


def test_a_cancel_answers_with_the_prediction(host: ScriptedHost, provider: Provider) -> None:
    """Or with nothing, where the provider cannot or would not."""
    host.then(answer(200, {"id": "p1", "status": "canceled"}), answer(404, b""), answer(422, {"detail": "done"}))

    assert Prediction(id="p1", status="canceled") == provider.cancel("p1")
    assert host.requests[0].startswith(b"POST /v1/predictions/p1/cancel HTTP/1.1\r\n")
    assert [None, None] == [provider.cancel("p1"), provider.cancel("p1")]


def test_the_list_is_paged_by_cursor_at_the_base_url(host: ScriptedHost, provider: Provider) -> None:
    """`next` leads to another host; only its cursor is used."""
    elsewhere = "https://api.replicate.com/v1/predictions?cursor=c%2B1"
    host.then(answer(200, {"results": [STARTING], "next": elsewhere}), answer(200, {"results": [], "next": None}))
    first = provider.list(created_after=1767323045.25)
    second = provider.list(created_after=1767323045.25, cursor=first.next_cursor)

    assert Page(predictions=(Prediction(id="p1", status="starting"),), next_cursor="c+1") == first
    assert Page(predictions=()) == second
    assert b"GET /v1/predictions?created_after=2026-01-02T03%3A04%3A05.250000Z HTTP" in host.requests[0]
    assert b"&cursor=c%2B1 HTTP" in host.requests[1]


@pytest.mark.parametrize(
    "reply",
    [
        answer(404, b""),
        answer(405, {"detail": "x"}),
        answer(501, b""),
        answer(200, b"<html>", {"Content-Type": "text/html"}),
    ],
)
def test_a_provider_without_a_list_says_so(reply: Act, host: ScriptedHost, provider: Provider) -> None:
    """Also the front page a proxy serves for every path it does not know."""
    host.then(reply)
    with pytest.raises(NotListed):
        provider.list(created_after=0)


def test_a_list_that_makes_no_sense_proves_nothing(host: ScriptedHost, provider: Provider) -> None:
    """Absence from it would mean paying again, so it is asked for again instead."""
    host.then(answer(200, {"results": [{"id": "p1"}]}))
    with pytest.raises(Transient, match="makes no sense"):
        provider.list(created_after=0)


@pytest.mark.parametrize(
    ("version", "path"),
    [("o/n:abc", b"/v1/models/o/n/versions/abc"), ("o/n", b"/v1/models/o/n")],
)
def test_the_schema_is_asked_for_by_version(version: str, path: bytes, host: ScriptedHost, provider: Provider) -> None:
    """An official model without a version shows its latest."""
    document = {"openapi_schema": {"components": {"schemas": {"Input": {"type": "object"}}}}}
    host.then(answer(200, document if ":" in version else {"latest_version": document}))
    schema = provider.version_schema(version)

    assert schema is not None
    assert schema["type"] == "object"
    assert host.requests[0].startswith(b"GET " + path + b" HTTP/1.1")


def test_a_provider_without_schemas_has_none(host: ScriptedHost, provider: Provider) -> None:
    """A proxy seldom has them; a bare version id has no address to ask at."""
    host.then(answer(404, b""), answer(200, {"id": "abc"}), answer(200, {"latest_version": None}))

    assert [None] * 3 == [provider.version_schema(version) for version in ("o/n:a", "o/n:a", "o/n")]
    assert [None] * 3 == [provider.version_schema(version) for version in ("abc", "../n:a", "o/n:a/../../b")]
    assert len(host.requests) == 3


def test_the_account_is_checked_at_no_cost(host: ScriptedHost, provider: Provider) -> None:
    """By name, with the server's time for the clock's sake."""
    host.then(answer(200, {"type": "user", "username": "ada"}, {"Date": "Wed, 21 Oct 2015 07:28:00 GMT"}))

    assert AccountCheck(checked=True, name="ada", server_time=1445412480.0) == provider.check_account()


def test_without_an_account_the_list_is_asked(host: ScriptedHost, provider: Provider) -> None:
    """And where there is neither, it is said that nothing could be checked."""
    host.then(answer(404, b""), answer(200, {"results": []}), answer(404, b""), answer(404, b""))

    assert AccountCheck(checked=True) == provider.check_account()
    assert AccountCheck(checked=False) == provider.check_account()


def test_a_wrong_token_is_refused_by_the_check(host: ScriptedHost, provider: Provider) -> None:
    """In the provider's words."""
    host.then(answer(401, {"title": "Unauthenticated"}))
    with pytest.raises(Refused, match="Unauthenticated"):
        provider.check_account()


@given(st.binary(max_size=300))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_bytes_come_back_the_outcome_is_declared(
    host: ScriptedHost, open_provider: Callable[..., Provider], tail: bytes
) -> None:
    """No reply makes a create raise anything but what it says it raises."""
    host.then(then_hang_up(raw(b"HTTP/1.1 " + tail)))
    with pytest.raises((OutcomeUnknown, Permanent, Refused, Throttled)):
        create(open_provider(host.url))


def test_many_threads_share_one_door(host: ScriptedHost, provider: Provider) -> None:
    """Each gets its own answer."""
    host.then(*[answer(201, STARTING)] * 40)
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: create(provider), range(40)))

    assert [Prediction(id="p1", status="starting")] * 40 == made
    assert len(host.requests) == 40
