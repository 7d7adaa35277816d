"""The one door to the provider: Replicate's HTTP API, or a proxy that speaks it.

What a failed call means differs between a create, which costs money, and everything else, which costs nothing:

    what happened                           create            get, list, cancel …
    never connected (name, route, TLS)      NotSent           Transient
    no reply, broken reply, 5xx, 408        OutcomeUnknown    Transient
    2xx that makes no sense                 OutcomeUnknown    Transient
    429                                     Throttled         Throttled
    401, 402, 403, a quota used up          Refused           Refused
    a redirect                              Refused           Refused (the base URL is wrong)
    404 or 405 that is no JSON              Refused           see each call
    any other 4xx                           Permanent         see each call

A create's 5xx is unknown because proxies answer so for predictions that were made and will be billed
(github.com/QuantumNous/new-api relay/channel/replicate/adaptor.go). Nothing here tries twice.

The token goes to the base URL's host only: addresses are built from the base and an id, never taken from a reply's
`urls` or `next` (which, behind a proxy, point at api.replicate.com), redirects are not followed, and the token is cut
out of every text that leaves here. Proxy variables of the environment are not obeyed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import quote, urlsplit

from imagejobs.clock import Clock
from imagejobs.edges import webhooks, wire
from imagejobs.edges.allowances import Overheard, overheard
from imagejobs.edges.clock_offset import ClockOffset
from imagejobs.edges.connections import Connections
from imagejobs.edges.dialects import (
    ImagesAnswer,
    Page,
    Prediction,
    read_created,
    read_page,
    read_prediction,
    read_schema,
)
from imagejobs.edges.fields import excerpt, line, read_http_date, read_json, write_time
from imagejobs.edges.masking import Mask
from imagejobs.edges.objections import Objection, read_objection
from imagejobs.edges.replies import host_of, is_absent, is_page, is_stumble, is_success
from imagejobs.errors import BadSetting, Cause, NotSent, OutcomeUnknown, Permanent, Refused, Throttled, Transient
from imagejobs.settings import Settings

# Four uncompressed images of a megapixel in base64 are 17 MB, a list page of 100 with their logs a few.
MAX_REPLY_BYTES = 64 * 2**20
# The shortest deadline the provider takes (replicate.com/changelog/2025-10-16-prediction-deadlines).
MIN_CANCEL_AFTER_SECONDS = 5

_VERSION = re.compile(r"(?P<owner>\w[\w.-]*)/(?P<model>\w[\w.-]*)(:(?P<digest>\w+))?", re.ASCII)


class NotListed(Exception):
    """This provider has no list of predictions: look at them one by one, and search nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountCheck:
    """Whether the token is accepted; `checked` is False where nothing free could tell. `server_time` is its clock."""

    checked: bool
    name: str | None = None
    server_time: float | None = None


class Provider:
    """Every call to the provider; safe to share between threads. Raises as the table above says."""

    def __init__(
        self, settings: Settings, *, clock: Clock, hear: Callable[[bool, Overheard], None] = lambda *_: None
    ) -> None:
        """`hear` is told what each reply lets slip of the allowance: of creates (True) or of other calls.

        Raises BadSetting for a token that no header can carry (a stray line break, an unfinished paste).
        """
        token = settings.token.get_secret_value().strip() if settings.token else ""
        if not (token.isascii() and token.isprintable()) or " " in token:
            raise BadSetting("REPLICATE_API_TOKEN holds blanks, line breaks or odd characters: set it again")
        self._token = token
        self._mask = Mask(token)
        self._base = settings.base_url
        self._host = urlsplit(settings.base_url).netloc
        self._clock = clock
        self._hear = hear
        self._read_seconds = settings.read_seconds
        self._connections = Connections(threads=3 * settings.threads)  # creates, copies' records, and sweeps
        self._offset = ClockOffset(clock)

    def close(self) -> None:
        """Close the pooled connections."""
        self._connections.close()

    def create(
        self,
        *,
        version: str,
        input: Mapping[str, Any],  # noqa: A002 - the provider's own word
        cancel_after_seconds: float,
        webhook: str | None = None,
    ) -> Prediction | ImagesAnswer:
        """Send exactly one POST. Returns the prediction, or a proxy's images, which are final at once.

        `webhook` is where the provider shall tell of its start and its end.

        Raises NotSent when it provably never left, OutcomeUnknown when it may have been accepted, Throttled, Refused,
        and Permanent (cause INPUT, with the fields complained of).
        """
        told = {"webhook": webhook, "webhook_events_filter": webhooks.EVENTS} if webhook else {}
        try:
            body = json.dumps({"version": version, "input": input, **told}, allow_nan=False).encode()
        except (TypeError, ValueError) as error:
            raise Permanent(f"the input is no JSON: {error}", cause=Cause.INPUT) from None
        seconds = max(MIN_CANCEL_AFTER_SECONDS, math.ceil(cancel_after_seconds))
        headers = {"Content-Type": "application/json", "Cancel-After": f"{seconds}s"}
        try:
            reply = self._call("POST", "/predictions", body=body, headers=headers)
        except wire.NoReply as error:
            raise OutcomeUnknown(f"no reply to the create: {error}") from None
        if not is_success(reply):
            self._refuse_create(reply)
        if (created := read_created(self._value(reply))) is None:
            hint = " (a web page: is REPLICATE_BASE_URL right?)" if is_page(reply) else ""
            raise OutcomeUnknown(
                f"the create was answered {reply.status} with nothing usable{hint}: {self._seen(reply)}"
            )
        return created

    def get(self, prediction_id: str) -> Prediction:
        """One prediction. Raises Permanent(EXPIRED) when the provider has no record of it any more, nor its output.

        Replicate keeps records after it removed their data, so this is a proxy that forgets. An id only seconds old may
        not be readable everywhere yet: look again before you pay again.
        """
        reply = self._read("GET", _path(prediction_id))
        self._refuse_address(reply)
        if reply.status in (404, 410):
            raise Permanent(self._words(reply), cause=Cause.EXPIRED)
        self._expect_success(reply)
        if (prediction := read_prediction(self._value(reply))) is None:
            raise Transient(f"no prediction in the reply: {self._seen(reply)}")
        return prediction

    def cancel(self, prediction_id: str) -> Prediction | None:
        """Ask for an end; harmless to repeat. None: the provider would not, or cannot; `get` tells how it stands."""
        reply = self._read("POST", f"{_path(prediction_id)}/cancel")
        return read_prediction(self._value(reply)) if is_success(reply) else None

    def list(self, *, created_after: float, cursor: str | None = None) -> Page:
        """One page of the account's predictions since a moment of our clock (inclusive), newest first.

        Times are not exact: ask a second early; our clock may be minutes off, and may have been set since.
        """
        assumed = self._offset.seconds
        reply = self._read("GET", "/predictions", query=_since(created_after + assumed, cursor))
        if self._offset.is_less_than(assumed) and not cursor:
            reply = self._read("GET", "/predictions", query=_since(created_after + self._offset.seconds))
        if is_absent(reply):
            raise NotListed(f"{self._host} has no list of predictions")
        self._expect_success(reply)
        if (page := read_page(read_json(self._mask.plainly(reply.body)))) is None:
            raise Transient(f"the list makes no sense: {self._seen(reply)}")
        return page

    def version_schema(self, version: str) -> dict[str, Any] | None:
        """The JSON schema of a model version's input (`$ref`s resolve within it); None where the provider has none."""
        if not (named := _VERSION.fullmatch(version)):
            return None  # a bare version id has no address to ask at
        path = f"/models/{named['owner']}/{named['model']}"
        digest = named["digest"]
        reply = self._read("GET", f"{path}/versions/{digest}" if digest else path)
        if is_absent(reply):
            return None
        self._expect_success(reply)
        value = read_json(reply.body)
        return read_schema(value if digest or not isinstance(value, dict) else value.get("latest_version"))

    def webhook_secret(self) -> str | None:
        """What the provider signs webhooks with; None where it has none."""
        reply = self._read("GET", "/webhooks/default/secret")
        if is_absent(reply):
            return None
        self._expect_success(reply)
        value = read_json(reply.body)
        return line(value.get("key")) if isinstance(value, dict) else None

    def check_account(self) -> AccountCheck:
        """Whether the token is accepted, asked at no cost: by the account, else by the list. Raises Refused if not."""
        reply = self._read("GET", "/account")
        if is_absent(reply):
            reply = self._read("GET", "/predictions", query=_since(self._clock.now()))
        if not is_absent(reply):
            self._expect_success(reply)
        value = read_json(reply.body)
        name = line(value.get("username")) if isinstance(value, dict) else None
        server_time = read_http_date(reply.headers.get("Date"))
        return AccountCheck(checked=not is_absent(reply), name=name, server_time=server_time)

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> wire.Reply:
        """One request, one reply. Raises NotSent, and NoReply once anything may have been sent."""
        token = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        asked_at = self._clock.monotonic()
        reply = wire.ask(
            self._connections,
            method,
            f"{self._base}/v1{path}",
            read_seconds=self._read_seconds,
            max_bytes=MAX_REPLY_BYTES,
            headers={"Accept": "application/json", **(headers or {}), **token},
            query=query,
            body=body,
        )
        self._offset.hear(reply.headers.get("Date"), took_seconds=self._clock.monotonic() - asked_at)
        self._hear((method, path) == ("POST", "/predictions"), overheard(reply.status, reply.headers, reply.body))
        return reply

    def _read(self, method: str, path: str, *, query: Mapping[str, str] | None = None) -> wire.Reply:
        """A call that costs nothing. Returns 2xx, and the 4xx whose meaning is the caller's to say."""
        try:
            reply = self._call(method, path, query=query)
        except (wire.NoReply, NotSent) as error:
            raise Transient(f"no reply: {error}") from None
        if is_success(reply):
            if reply.broken:
                raise Transient(reply.broken)
            return reply
        self._refuse_account(reply)
        if is_stumble(reply) and reply.status != 501:
            raise Transient(self._words(reply), after_seconds=self._objection(reply).after_seconds)
        return reply

    def _refuse_create(self, reply: wire.Reply) -> NoReturn:
        self._refuse_account(reply)
        if is_stumble(reply):
            raise OutcomeUnknown(self._words(reply))
        self._refuse_address(reply)
        raise Permanent(self._words(reply), cause=Cause.INPUT)

    def _refuse_address(self, reply: wire.Reply) -> None:
        """A 404 that is no JSON comes from a web server without this API, not from the API about a version or an id."""
        if reply.status in (404, 405) and not isinstance(read_json(reply.body), dict):
            raise Refused(f"{self._words(reply)}; is REPLICATE_BASE_URL right?")

    def _refuse_account(self, reply: wire.Reply) -> None:
        """What pauses or slows the whole account, whatever was asked."""
        if 300 <= reply.status < 400:
            host = host_of(reply.headers.get("Location", ""))
            raise Refused(f"{self._host} redirects to {host}: set REPLICATE_BASE_URL to where the API really is")
        objection = self._objection(reply)
        if reply.status in (401, 402, 403) or (reply.status == 429 and objection.is_quota):
            raise Refused(self._words(reply))
        if reply.status == 429:
            raise Throttled(self._words(reply), after_seconds=objection.after_seconds)

    def _expect_success(self, reply: wire.Reply) -> None:
        if not is_success(reply):
            raise Permanent(self._words(reply), cause=Cause.UNKNOWN)

    def _words(self, reply: wire.Reply) -> str:
        """The status and the provider's own words, fit to be shown."""
        text = self._objection(reply).text or reply.broken
        return f"{self._host} answered {reply.status}" + (f": {text}" if text else "")

    def _objection(self, reply: wire.Reply) -> Objection:
        return read_objection(self._mask.thoroughly(reply.body), reply.headers, now=self._clock.now())

    def _seen(self, reply: wire.Reply) -> str:
        return reply.broken or excerpt(self._mask.thoroughly(reply.body))

    def _value(self, reply: wire.Reply) -> Any:
        """The reply's JSON value, for what has texts that are shown."""
        return read_json(self._mask.thoroughly(reply.body))


def _since(moment: float, cursor: str | None = None) -> dict[str, str]:
    return {"created_after": write_time(moment)} | ({"cursor": cursor} if cursor else {})


def _path(prediction_id: str) -> str:
    return f"/predictions/{quote(prediction_id, safe='')}"
