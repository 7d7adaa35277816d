"""The door to the store: a bucket of any S3-compatible store through boto3, or a folder.

Credentials, region and endpoint are boto3's own (AWS_*), also from its files. Where an endpoint is set, buckets are
addressed by path, because few such stores have a DNS name for each. Checksums that only new stores know are neither
demanded nor computed twice: what is sent is the SHA-256 at hand, as the store's own checksum, which those that know it
verify on arrival, and as metadata, which every store gives back. boto3 tries once: back-off is decided elsewhere.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import unquote, urlsplit

import boto3
from boto3.s3.transfer import TransferConfig
from botocore import exceptions as aws
from botocore.config import Config
from botocore.handlers import add_expect_header
from botocore.loaders import JSONFileLoader, create_loader
from botocore.session import Session, get_session

from imagejobs.edges.fields import words
from imagejobs.edges.folder import FolderStore
from imagejobs.edges.puts import UNFIT_CREDENTIALS, Puts
from imagejobs.edges.store import Stat, Store, checked_key, probe
from imagejobs.edges.wire import NoReply
from imagejobs.errors import BadSetting, Cause, Permanent, Refused, Transient

CONNECTIONS = 64
"""Kept open at most; a thread beyond that opens one for its call."""

PART_BYTES = 16 * 2**20
"""A large file goes in parts of this size, one after another: that much memory, and ten thousand parts make 160 GB."""

SILENT_SECONDS = 15
"""For each piece that a store sends or takes. Copies may hold every thread of a worker, and for no longer than this
when a network swallows what it is given; a store that is so slow is asked again."""

_OPTIONS = Config(
    signature_version="s3v4",
    retries={"total_max_attempts": 1},
    connect_timeout=5,  # and for each 128 KB that boto3 sends
    read_timeout=SILENT_SECONDS,
    max_pool_connections=CONNECTIONS,
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
    parameter_validation=False,  # a tenth of a put's cost, for calls that are all written below
    user_agent_extra="imagejobs",
)

_PASSING = (
    aws.ConnectionError,
    aws.HTTPClientError,
    aws.IncompleteReadError,
    aws.ChecksumError,
    aws.FlexibleChecksumError,
)
"""botocore's errors of the network; all its others (no credentials, a broken profile) are the owner's to mend."""

_PASSING_CODES = frozenset({"RequestTimeout", "SlowDown", "BadDigest", "XAmzContentSHA256Mismatch", "IncompleteBody"})
"""Errors that come with a 400 and are nobody's fault (docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html)."""

_WAYS_OUT = {
    "NoSuchBucket": "make the bucket, or set IMAGEJOBS_STORE right",
    "AccessDenied": "allow this key to get, put and delete objects there, and to list the bucket",
    "403": "allow this key to get, put and delete objects there, and to list the bucket (s3:ListBucket)",
    "SignatureDoesNotMatch": "AWS_SECRET_ACCESS_KEY does not belong to AWS_ACCESS_KEY_ID",
    "InvalidAccessKeyId": "the store does not know this AWS_ACCESS_KEY_ID",
    "ExpiredToken": "renew the credentials",
    "InvalidToken": "renew the credentials",
    "RequestTimeTooSkewed": "set this machine's clock",
    "PermanentRedirect": "set AWS_DEFAULT_REGION to the bucket's region",
    "AuthorizationHeaderMalformed": "set AWS_DEFAULT_REGION to the bucket's region",
    "QuotaExceeded": "make room, or raise the quota",
}


def open_store(url: str, environ: Mapping[str, str] | None = None) -> Store:
    """The store at `s3://bucket/prefix` or `file:///folder`; nothing is asked of it yet (`check` does).

    `environ` stands in for the process's own variables. Raises BadSetting for what boto3 can make nothing of.
    """
    parts = urlsplit(url)
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
        return FolderStore(Path(unquote(parts.path)))
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    if parts.scheme != "s3" or not bucket:
        raise BadSetting("IMAGEJOBS_STORE must be s3://bucket/prefix or file:///absolute/folder")
    return BucketStore(bucket, prefix=prefix.strip("/"), environ=environ)


class BucketStore:
    """Objects under a prefix of a bucket."""

    def __init__(self, bucket: str, *, prefix: str, environ: Mapping[str, str] | None) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        try:
            self._client, self._puts = _shared_client(os.environ if environ is None else environ)
        except (aws.BotoCoreError, ValueError) as error:
            raise BadSetting(f"AWS_*: {error}") from None

    def put(self, key: str, data: bytes, *, content_type: str, sha256: str) -> str:
        """Raises Refused (no bucket, not allowed, wrong key), Transient, Permanent (all with cause STORAGE)."""
        with self._sorting_errors(key):
            name = self._prefix + checked_key(key)
            self._puts.put(self._bucket, name, data, content_type=content_type, sha256=sha256)
        return self.uri(key)

    def put_file(self, key: str, path: Path, content_type: str) -> str:
        """In parts when it is long; a part that fails takes all of them away again."""
        if path.stat().st_size <= PART_BYTES:
            data = path.read_bytes()
            return self.put(key, data, content_type=content_type, sha256=sha256(data).hexdigest())
        transfer = TransferConfig(multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, use_threads=False)
        with self._sorting_errors(key), path.open("rb") as file:
            extra = {"ContentType": content_type}
            self._client.upload_fileobj(file, **self._named(key), ExtraArgs=extra, Config=transfer)
        return self.uri(key)

    def get(self, key: str) -> bytes:
        """Raises Permanent when there is no such key."""
        with self._sorting_errors(key):
            body: bytes = self._client.get_object(**self._named(key))["Body"].read()
            return body

    def stat(self, key: str) -> Stat | None:
        """With the hash it was put with. A key without leave to list the bucket is refused where it should be None."""
        try:
            with self._sorting_errors(key):
                head = self._client.head_object(**self._named(key))
        except Permanent:
            return None
        return Stat(bytes=head["ContentLength"], sha256=head["Metadata"].get("sha256"))

    def delete(self, key: str) -> None:
        """None there is as good."""
        with self._sorting_errors(key):
            self._client.delete_object(**self._named(key))

    def check(self) -> None:
        """Raises BadSetting."""
        probe(self)

    def uri(self, key: str) -> str:
        """s3://bucket/prefix/key."""
        return f"s3://{self._bucket}/{self._prefix}{checked_key(key)}"

    def close(self) -> None:
        """Close idle connections, also those of other stores with the same variables: they open new ones."""
        self._client.close()
        self._puts.close()

    def _named(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + checked_key(key)}

    @contextlib.contextmanager
    def _sorting_errors(self, key: str) -> Iterator[None]:
        try:
            yield
        except aws.ClientError as error:
            self._judge(error.response, key)
        except (*_PASSING, NoReply) as error:
            if isinstance(getattr(error, "kwargs", {}).get("error"), ValueError):  # its text has the unfit header
                raise Refused(f"bucket {self._bucket}: {UNFIT_CREDENTIALS}", cause=Cause.STORAGE) from None
            raise Transient(f"bucket {self._bucket}: {words(str(error))}", cause=Cause.STORAGE) from None
        except aws.BotoCoreError as error:
            way_out = ": set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" * isinstance(error, aws.NoCredentialsError)
            raise Refused(f"bucket {self._bucket}: {words(str(error))}{way_out}", cause=Cause.STORAGE) from None

    def _judge(self, response: Mapping[str, Any], key: str) -> NoReturn:
        """What the store's own error reply means for us. Anything unheard-of is for the owner to look at."""
        code = str(response.get("Error", {}).get("Code", ""))
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        said = words(response.get("Error", {}).get("Message")) or "no reason given"
        text = f"bucket {self._bucket}: {code}: {said}"
        if code in ("NoSuchKey", "404", "KeyTooLongError"):
            raise Permanent(f"{self.uri(key)}: {said}", cause=Cause.STORAGE) from None
        if status >= 500 or status in (408, 409, 429) or code in _PASSING_CODES:
            raise Transient(text, cause=Cause.STORAGE) from None
        raise Refused(text + (f": {_WAYS_OUT[code]}" if code in _WAYS_OUT else ""), cause=Cause.STORAGE) from None


def _shared_client(environ: Mapping[str, str]) -> tuple[Any, Puts]:
    """The process's client for these variables: it takes 100 ms to make, and any number of threads share it."""
    if bool(environ.get("AWS_ACCESS_KEY_ID")) != bool(environ.get("AWS_SECRET_ACCESS_KEY")):
        raise ValueError("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY together, or neither")
    for name in _CREDENTIALS:
        if not _fits_a_header(environ.get(name, "")):
            raise ValueError(f"{name} has a line break or a letter in it that none has: write it anew")
    endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
    return _open_client(endpoint or None, *(environ.get(name) or None for name in _SESSION_FACTS.values()))


_SESSION_FACTS = {
    "aws_access_key_id": "AWS_ACCESS_KEY_ID",
    "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "aws_session_token": "AWS_SESSION_TOKEN",
    "region_name": "AWS_DEFAULT_REGION",
    "profile_name": "AWS_PROFILE",
}
"""boto3's own variables by its own names; what is not set, it looks up in its files."""


_CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


def _fits_a_header(value: str) -> bool:
    """A secret that was made with `echo` ends in a line break, and whoever refuses to send that repeats it."""
    return value.isascii() and value.isprintable()


_SERVICES = ("s3", "sts")
"""Of whose endpoints botocore's table is kept; it makes those of others (a sign-on's) by the general rule."""


class _LeanModels(JSONFileLoader):  # type: ignore[misc]  # botocore ships no types
    """botocore's models in plain dicts, without their documentation and without services that are not asked.

    Its own loader keeps nine megabytes more for as long as the client lives.
    """

    def load_file(self, file_path: str) -> Any:
        """None when there is no such file."""
        for suffix, opened in ((".json", open), (".json.gz", gzip.open)):
            if Path(file_path + suffix).is_file():
                with opened(file_path + suffix, "rb") as file:
                    return json.load(file, object_hook=_lean)
        return None


def _lean(found: dict[str, Any]) -> dict[str, Any]:
    if isinstance(found.get("documentation"), str):
        found["documentation"] = ""
    if isinstance(found.get("services"), dict):
        found["services"] = {name: found["services"][name] for name in _SERVICES if name in found["services"]}
    return found


def _session() -> Session:
    session = get_session()
    loader = create_loader(session.get_config_variable("data_path"))
    loader.file_loader = _LeanModels()
    session.register_component("data_loader", loader)
    return session


@lru_cache(maxsize=8)
def _open_client(endpoint: str | None, *facts: str | None) -> tuple[Any, Puts]:
    core = _session()
    session = boto3.Session(botocore_session=core, **dict(zip(_SESSION_FACTS, facts, strict=True)))
    client = session.client(
        "s3",
        endpoint_url=endpoint,
        config=_OPTIONS.merge(Config(s3={"addressing_style": "path"})) if endpoint else _OPTIONS,
    )
    # "Expect: 100-continue" costs a round trip for each image, and a second at stores that have never heard of it.
    client.meta.events.unregister("before-call.s3", add_expect_header)
    bundle = core.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")  # as botocore has it
    return client, Puts(client, session.get_credentials(), authorities=bundle or None, silent_seconds=SILENT_SECONDS)
