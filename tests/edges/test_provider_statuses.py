"""What the provider's statuses mean, and that what it says never carries the token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from imagejobs.edges.provider import Provider
from imagejobs.errors import BadSetting, Cause, OutcomeUnknown, Permanent, Refused, Throttled, Transient
from tests.edges.provider_door import STARTING, TOKEN, create, text_of
from tests.edges.scripted_host import ScriptedHost, answer, then_hang_up


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
