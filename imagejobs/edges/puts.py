"""Puts in one piece at half of boto3's price: boto3 sends the first, and the next are signed as it signed that one.

What a put costs boto3 beyond signing and sending (looking up the endpoint's rules, building the request from its
model, describing itself, reading the reply into the model) gives the same result each time, but for the key. So the
request that boto3 sent is looked at: it says where the bucket is, for which region it is signed and how it is named.
Credentials, their renewal, the signature, connections, TLS and proxies stay botocore's own; and a reply that is no
success is handed back to boto3, which sorts errors and follows a bucket to its region as ever.
See docs/decisions/0022-puts-signed-without-a-client.md.
"""

from __future__ import annotations

import base64
import re
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSPreparedRequest, AWSRequest, AWSResponse
from botocore.httpsession import URLLib3Session
from botocore.utils import get_environ_proxies, percent_encode

_SCOPE = re.compile(r"AWS4-HMAC-SHA256 Credential=[^,]+/\d{8}/(?P<region>[\w-]+)/s3/aws4_request,")
_SESSION_TOKEN = "x-amz-s3session-token"  # noqa: S105 - a header's name: directory buckets are signed otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a bucket is, by the request that boto3 made for one of its keys."""

    address: str
    region: str
    user_agent: str

    @classmethod
    def seen_in(cls, request: AWSPreparedRequest, *, key: str) -> Self | None:
        """None for a request that is signed or addressed in another way than the usual one: boto3 keeps those."""
        name, headers = _quoted(key), request.headers
        scope = _SCOPE.match(_text(headers.get("Authorization")))
        if not scope or _SESSION_TOKEN in headers or not request.url.endswith(f"/{name}"):
            return None
        address = request.url.removesuffix(name)
        return cls(address=address, region=scope["region"], user_agent=_text(headers.get("User-Agent")))


class _Signer(S3SigV4Auth):  # type: ignore[misc]  # botocore ships no types
    """Signs one request, of bytes whose hash is known, which spares hashing them again."""

    def __init__(self, credentials: Any, region: str, *, sha256: str) -> None:
        super().__init__(credentials, "s3", region)
        self._sha256 = sha256
        self._to_sign: Any = None

    def payload(self, request: AWSRequest) -> str:  # noqa: ARG002 - botocore's own signature
        return self._sha256

    def headers_to_sign(self, request: AWSRequest) -> Any:
        """botocore gathers them twice: for what is signed, and for the list of their names."""
        if self._to_sign is None:
            self._to_sign = super().headers_to_sign(request)
        return self._to_sign


class _Watch:
    """What one call of boto3 sends; the first time, with a reply at hand, nothing need be."""

    def __init__(self, reply: AWSResponse | None) -> None:
        self._reply = reply
        self.sent: AWSPreparedRequest | None = None

    def met(self, request: AWSPreparedRequest) -> AWSResponse | None:
        """The reply, once."""
        reply, self._reply = self._reply, None
        if reply is None:
            self.sent = request
        return reply


class Puts:
    """Puts through one client; safe to share between threads."""

    def __init__(self, client: Any, credentials: Any, *, ca_bundle: str | bool) -> None:
        """`credentials` are the client's own, which renew themselves where their kind can."""
        self._client = client
        self._credentials = credentials
        self._places: dict[str, _Place | None] = {}
        self._turn = threading.local()
        config = client.meta.config
        self._http = URLLib3Session(
            verify=ca_bundle,
            proxies=get_environ_proxies(client.meta.endpoint_url),
            timeout=(config.connect_timeout, config.read_timeout),
            max_pool_connections=config.max_pool_connections,
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],  # as botocore's clients have it
        )
        client.meta.events.register_last("before-send.s3.PutObject", self._before_send)

    def put(self, bucket: str, key: str, data: bytes, *, content_type: str, sha256: str) -> None:
        """Raises what boto3's `put_object` raises."""
        headers = {
            "Content-Type": content_type,
            "x-amz-checksum-sha256": base64.b64encode(bytes.fromhex(sha256)).decode(),
            "x-amz-meta-sha256": sha256,
        }
        reply = None
        if place := self._places.get(bucket):
            reply = self._send(place, key, data, headers, sha256)
            if reply.status_code == 200:
                return
        self._put_by_boto3(bucket, key, data, headers, reply)

    def close(self) -> None:
        """Close idle connections."""
        self._http.close()

    def _send(self, place: _Place, key: str, data: bytes, headers: Mapping[str, str], sha256: str) -> AWSResponse:
        request = AWSRequest("PUT", place.address + _quoted(key))
        # A plain dict: botocore's own headers are those of an e-mail, which costs an eighth of the put.
        request.headers = {**headers, "User-Agent": place.user_agent}
        _Signer(self._credentials.get_frozen_credentials(), place.region, sha256=sha256).add_auth(request)
        ready = AWSPreparedRequest(request.method, request.url, request.headers, data, stream_output=False)
        return self._http.send(ready)

    def _put_by_boto3(
        self, bucket: str, key: str, data: bytes, headers: dict[str, str], reply: AWSResponse | None
    ) -> None:
        """With a `reply`, boto3 only says what came of it; it sends again by itself to another region alone."""
        self._turn.watch = watch = _Watch(reply)
        try:
            self._client.put_object(
                Bucket=bucket,
                Key=key,
                Body=data,
                ContentType=headers["Content-Type"],
                ChecksumSHA256=headers["x-amz-checksum-sha256"],
                Metadata={"sha256": headers["x-amz-meta-sha256"]},
            )
        finally:
            self._turn.watch = None
        if watch.sent:
            self._places[bucket] = _Place.seen_in(watch.sent, key=key)

    def _before_send(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse | None:
        """botocore's hook: whoever returns a response has sent the request."""
        watch: _Watch | None = getattr(self._turn, "watch", None)
        return watch.met(request) if watch else None


def _quoted(key: str) -> str:
    return str(percent_encode(key, safe="/~"))  # as botocore writes a key into an address


def _text(header: str | bytes | None) -> str:
    return header.decode() if isinstance(header, bytes) else header or ""
