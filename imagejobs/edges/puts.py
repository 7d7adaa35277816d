"""Puts in one piece at half of boto3's price: signed as boto3 would sign them, and sent by our own connections.

What a put costs boto3 beyond signing and sending (looking up the endpoint's rules, building the request from its
model, describing itself, reading the reply into the model) gives the same result each time, but for the key. So the
request that boto3 would send is looked at: it says where the bucket is, for which region it is signed and how it is
named. Credentials, their renewal and the signature stay botocore's own; a whole reply that is no success is handed to
boto3, which sorts errors and follows a bucket to its region as ever; and where a proxy leads to the store, boto3 puts
all.
See docs/decisions/0022 and 0044.
"""

from __future__ import annotations

import base64
import io
import re
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, Self, cast
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSPreparedRequest, AWSRequest, AWSResponse
from botocore.httpsession import ProxyConfiguration, create_urllib3_context
from botocore.utils import get_environ_proxies, percent_encode
from urllib3 import HTTPHeaderDict, HTTPResponse

from imagejobs.edges.connections import Connection, Connections, SecureConnection
from imagejobs.edges.wire import NoReply, Reply, send
from imagejobs.errors import Cause, NotSent, Refused

_SCOPE = re.compile(r"AWS4-HMAC-SHA256 Credential=[^,]+/\d{8}/(?P<region>[\w-]+)/s3/aws4_request,")
_SESSION_TOKEN = "x-amz-s3session-token"  # noqa: S105 - a header's name: directory buckets are signed otherwise

PIECE_BYTES = 256 * 1024
"""What a store takes within its time: a large image over a slow line may take minutes, if only it goes on."""

MOST_SAID_BYTES = 2**20
"""Of a reply to a put: some words of XML."""

UNFIT_CREDENTIALS = "the credentials have a line break or a letter that fits into no header: write them anew"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bucket:
    """Where a bucket is, by the request that boto3 made for one of its keys."""

    origin: str
    root: str
    region: str
    user_agent: str

    @classmethod
    def seen_in(cls, request: AWSPreparedRequest, *, key: str) -> Self | None:
        """None for a request that is signed or addressed in another way than the usual one: boto3 keeps those."""
        name, headers = _quoted(key), request.headers
        scope = _SCOPE.match(_text(headers.get("Authorization")))
        if not scope or _SESSION_TOKEN in headers or not request.url.endswith(f"/{name}"):
            return None
        parts = urlsplit(request.url)
        return cls(
            origin=f"{parts.scheme}://{parts.netloc}",
            root=parts.path.removesuffix(name),
            region=scope["region"],
            user_agent=_text(headers.get("User-Agent")),
        )


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
    """One call of boto3: what it would send, and what is said to have come of the first sending, if anything is."""

    def __init__(self, reply: AWSResponse | None) -> None:
        self._reply = reply
        self.request: AWSPreparedRequest | None = None

    def met(self, request: AWSPreparedRequest) -> AWSResponse | None:
        """The reply, once."""
        self.request = request
        reply, self._reply = self._reply, None
        return reply


class _Sending(Connection):
    """The kernel takes little of a body at a time: what it has taken counts as sent, and may take minutes to be so."""

    def __init__(self, *args: Any, **options: Any) -> None:
        small = (socket.SOL_SOCKET, socket.SO_SNDBUF, PIECE_BYTES)
        super().__init__(*args, **{**options, "socket_options": [*self.default_socket_options, small]})


class _SecureSending(_Sending, SecureConnection):
    """The same over TLS."""


_UNSENT = Reply(status=HTTPStatus.OK, headers={})
"""For boto3 to show how it would put something."""


class Puts:
    """Puts through one client; safe to share between threads."""

    def __init__(self, client: Any, credentials: Any, *, authorities: str | None, silent_seconds: float) -> None:
        """`credentials` are the client's own, which renew themselves where their kind can.

        `silent_seconds` is for each piece of what a store takes, and for all that it says.
        """
        self._client = client
        self._credentials = credentials
        self._buckets: dict[str, _Bucket | None] = {}
        self._turn = threading.local()
        endpoint = client.meta.endpoint_url
        self._is_direct = not ProxyConfiguration(get_environ_proxies(endpoint)).proxy_url_for(endpoint)
        self._silent_seconds = silent_seconds
        self._connections = Connections(
            threads=client.meta.config.max_pool_connections,
            plain=_Sending,
            secure=_SecureSending,
            authorities=authorities,
            context=create_urllib3_context(),  # from Python 3.13 on, urllib3's own refuses what boto3's takes
        )
        client.meta.events.register_last("before-send.s3.PutObject", self._before_send)

    def put(self, bucket: str, key: str, data: bytes, *, content_type: str, sha256: str) -> None:
        """Raises what boto3's `put_object` raises, and NoReply."""
        headers = {
            "Content-Type": content_type,
            "x-amz-checksum-sha256": base64.b64encode(bytes.fromhex(sha256)).decode(),
            "x-amz-meta-sha256": sha256,
        }
        call = partial(self._call_boto3, bucket, key, data, headers)
        if self._is_direct and bucket not in self._buckets:
            self._buckets[bucket] = _Bucket.seen_in(call(_UNSENT), key=key)
        known = self._buckets.get(bucket)
        if not known:
            call(None)
            return
        reply = self._send(known, key, data, headers, sha256)
        if reply.broken:
            raise NoReply(reply.broken)
        if reply.status != HTTPStatus.OK:
            self._buckets[bucket] = _Bucket.seen_in(call(reply), key=key)

    def close(self) -> None:
        """Close idle connections."""
        self._connections.close()

    def _send(self, bucket: _Bucket, key: str, data: bytes, headers: Mapping[str, str], sha256: str) -> Reply:
        path = bucket.root + _quoted(key)
        request = AWSRequest("PUT", bucket.origin + path)
        # A plain dict: botocore's own headers are those of an e-mail, which costs an eighth of the put.
        request.headers = {**headers, "User-Agent": bucket.user_agent}
        _Signer(self._credentials.get_frozen_credentials(), bucket.region, sha256=sha256).add_auth(request)
        return self._exchange(bucket.origin, path, data, {**request.headers, "Content-Length": str(len(data))})

    def _exchange(self, origin: str, path: str, data: bytes, headers: Mapping[str, str]) -> Reply:
        try:
            return send(
                self._connections.pool(origin),
                "PUT",
                path,
                headers=headers,
                body=[memoryview(data)[start : start + PIECE_BYTES] for start in range(0, len(data), PIECE_BYTES)],
                send_seconds=self._silent_seconds,
                read_seconds=self._silent_seconds,
                max_bytes=MOST_SAID_BYTES,
            )
        except (NotSent, NoReply, OSError) as error:  # OSError: the file of authorities has gone meanwhile
            raise NoReply(f"{origin}: {error}") from None
        except ValueError:  # its text has the header, and so the credentials that boto3 found elsewhere
            raise Refused(f"{origin}: {UNFIT_CREDENTIALS}", cause=Cause.STORAGE) from None

    def _call_boto3(
        self, bucket: str, key: str, data: bytes, headers: Mapping[str, str], reply: Reply | None
    ) -> AWSPreparedRequest:
        """The put as boto3 has it. With a `reply`, nothing is sent, and boto3 only says what it makes of that; but it
        sends by itself when it is told of another region. Returns the last request.
        """
        self._turn.watch = watch = _Watch(_as_botocores(reply) if reply else None)
        try:
            said = self._client.put_object(
                Bucket=bucket,
                Key=key,
                Body=data,
                ContentType=headers["Content-Type"],
                ChecksumSHA256=headers["x-amz-checksum-sha256"],
                Metadata={"sha256": headers["x-amz-meta-sha256"]},
            )
        finally:
            self._turn.watch = None
        if (status := said["ResponseMetadata"]["HTTPStatusCode"]) < HTTPStatus.OK:
            self._client.close()  # an interim reply, which boto3 takes for success: the reply itself is still to come
            raise NoReply(f"{status}, and the reply itself was not waited for")
        return cast("AWSPreparedRequest", watch.request)

    def _before_send(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse | None:
        """botocore's hook: whoever returns a response has sent the request."""
        watch: _Watch | None = getattr(self._turn, "watch", None)
        return watch.met(request) if watch else None


def _as_botocores(reply: Reply) -> AWSResponse:
    """As it is by now: whole, and unpacked."""
    headers = HTTPHeaderDict(reply.headers)
    for name in ("Content-Encoding", "Transfer-Encoding"):
        headers.discard(name)
    headers["Content-Length"] = str(len(reply.body))
    raw = HTTPResponse(io.BytesIO(reply.body), headers, reply.status, preload_content=False)
    return AWSResponse("", reply.status, headers, raw)


def _quoted(key: str) -> str:
    return str(percent_encode(key, safe="/~"))  # as botocore writes a key into an address


def _text(header: str | bytes | None) -> str:
    return header.decode() if isinstance(header, bytes) else header or ""
