"""The provider's free calls: one prediction, the list, a schema, the account."""

from __future__ import annotations

import pytest

from imagejobs.edges.dialects import Page, Prediction
from imagejobs.edges.provider import AccountCheck, NotListed, Provider
from imagejobs.errors import Cause, Permanent, Refused, Transient
from tests.edges.provider_door import STARTING
from tests.edges.scripted_host import Act, ScriptedHost, answer


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
