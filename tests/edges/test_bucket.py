"""The store's door: the same truths on a folder, an emulator and a real object store, and what each refusal says."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
import pytest

from imagejobs.edges import bucket as bucket_door
from imagejobs.edges.bucket import open_store
from imagejobs.edges.store import Stat, Store
from imagejobs.errors import BadSetting, Cause, Permanent, Refused, Transient
from tests.edges.scripted_host import Act, ScriptedHost, answer, hang_up, then_hang_up
from tests.servers.ports import free_port
from tests.servers.requirement import require
from tests.servers.s3 import Bucket, S3Server

DATA = bytes(range(256)) * 10
SHA256 = hashlib.sha256(DATA).hexdigest()
KEY = "night/images/r1-0.png"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "a-very-secret-secret"}
Open = Callable[..., Store]


@pytest.fixture
def opened() -> Iterator[Open]:
    """Stores, closed at the end of the test."""
    stores: list[Store] = []

    def open_one(url: str, environ: Any = None) -> Store:
        stores.append(open_store(url, environ))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


def put(store: Store, key: str = KEY, data: bytes = DATA) -> str:
    return store.put(key, data, content_type="image/png", sha256=hashlib.sha256(data).hexdigest())


class EveryStore:
    """What holds for every kind of store."""

    def test_what_was_put_comes_back(self, store: Store) -> None:
        """Byte for byte, also nothing at all."""
        put(store)
        put(store, "night/empty", b"")

        assert store.get(KEY) == DATA
        assert store.get("night/empty") == b""

    def test_putting_again_replaces(self, store: Store) -> None:
        """A late second writer does no harm."""
        put(store, data=b"half an image")
        put(store)

        assert store.get(KEY) == DATA

    def test_what_is_not_there_is_said(self, store: Store) -> None:
        """Asked for its facts: none; asked for its bytes: an error; asked to go: fine."""
        assert store.stat(KEY) is None
        with pytest.raises(Permanent) as error:
            store.get(KEY)
        store.delete(KEY)

        assert error.value.cause is Cause.STORAGE

    def test_what_was_deleted_is_gone(self, store: Store) -> None:
        """As the marker of a batch that is opened again."""
        put(store)
        store.delete(KEY)

        assert store.stat(KEY) is None

    def test_a_file_is_put_as_it_is(self, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever its length; a long one goes to a bucket in parts."""
        monkeypatch.setattr(bucket_door, "PART_BYTES", 5 * 2**20)  # the least a part may have
        sizes = {"short": 1000, "long": 11 * 2**20}
        for name, size in sizes.items():
            path = tmp_path / name
            path.write_bytes(os.urandom(size))

            assert store.put_file(f"night/{name}", path, "application/octet-stream") == store.uri(f"night/{name}")
            assert store.get(f"night/{name}") == path.read_bytes()

    @pytest.mark.parametrize("key", ["a b/ü #%?&+=.png", "night/images/" + "x" * 200, "a/b/c/d/e/f", ".hidden", "a..b"])
    def test_odd_keys_are_kept(self, store: Store, key: str) -> None:
        """Whatever the caller's ids look like."""
        put(store, key)

        assert store.get(key) == DATA

    @pytest.mark.parametrize(
        "key", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", "./a", "a\x00b", "a\nb", "x" * 1025]
    )
    def test_a_key_that_leads_elsewhere_is_refused_for_good(self, store: Store, key: str) -> None:
        """On every kind of store, so that a bucket can be copied to a folder."""
        for attempt in (lambda: put(store, key), lambda: store.get(key), lambda: store.delete(key)):
            with pytest.raises(Permanent) as error:
                attempt()
            assert error.value.cause is Cause.STORAGE

    def test_many_threads_share_it(self, store: Store) -> None:
        """One client, eight threads."""
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda n: put(store, f"night/{n}", b"%d" % n), range(40)))
            back = list(threads.map(lambda n: store.get(f"night/{n}"), range(40)))

        assert [b"%d" % n for n in range(40)] == back

    def test_writers_of_one_key_do_not_mix(self, store: Store) -> None:
        """Two workers with the same message: the object is one of theirs, whole."""
        versions = [bytes([n]) * 50_000 for n in range(8)]
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda data: put(store, data=data), versions))

        assert store.get(KEY) in versions

    def test_a_good_store_passes_its_check(self, store: Store) -> None:
        """Without a trace."""
        store.check()


class TestFolder(EveryStore):
    """file:///…"""

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        """Not there yet, and in need of encoding."""
        return tmp_path / "the store #1"

    @pytest.fixture
    def store(self, root: Path, opened: Open) -> Store:
        """A folder."""
        return opened(root.as_uri())

    def test_an_object_is_a_file(self, store: Store, root: Path) -> None:
        """Where one would look for it, readable by others as any file is, and named by a file URI."""
        uri = put(store)

        assert (root / KEY).read_bytes() == DATA
        assert (root / KEY).stat().st_mode & 0o044 == 0o044 & ~current_umask()
        assert uri == f"file://{quote(str(root / KEY))}"
        assert store.stat(KEY) == Stat(bytes=len(DATA), sha256=None)

    def test_a_folder_is_no_object(self, store: Store) -> None:
        """It has no bytes."""
        put(store)

        assert store.stat("night/images") is None
        with pytest.raises(Refused, match="a folder stands where a file should be"):
            store.get("night/images")

    def test_nothing_is_left_aside(self, store: Store, root: Path) -> None:
        """Neither after a success nor after a failure."""
        put(store)
        (root / "night" / "images" / "d").mkdir()
        with pytest.raises(Refused):
            put(store, "night/images/d")

        assert list((root / ".incoming").iterdir()) == []

    def test_a_link_out_of_it_is_not_followed(self, store: Store, root: Path, tmp_path: Path) -> None:
        """Whoever made it."""
        put(store)
        (root / "elsewhere").symlink_to(tmp_path)
        with pytest.raises(Permanent, match="leads out of"):
            put(store, "elsewhere/x")

        assert not (tmp_path / "x").exists()

    def test_a_file_in_the_way_is_said(self, store: Store, root: Path) -> None:
        """Somebody put a file where a folder should be."""
        root.write_text("not a folder")
        with pytest.raises(Refused, match="a file stands where a folder should be") as error:
            put(store)

        assert error.value.cause is Cause.STORAGE
        with pytest.raises(BadSetting, match="a file stands"):
            store.check()

    def test_a_name_no_file_can_have_is_refused_for_good(self, store: Store) -> None:
        """255 bytes is the usual limit."""
        with pytest.raises(Permanent):
            put(store, "x" * 300)

    def test_a_folder_that_is_not_ours_is_said(self, store: Store, root: Path) -> None:
        """With what to change."""
        root.mkdir(mode=0o555)
        with as_nobody(), pytest.raises(BadSetting, match="this user may not use it"):
            store.check()

    @pytest.mark.parametrize(
        ("mount", "said"), [("tmpfs -o size=64k", "the disk is full"), ("tmpfs -o ro", "the file system is read-only")]
    )
    def test_a_disk_that_takes_nothing_is_said(self, mount: str, said: str, tmp_path: Path) -> None:
        """Full, or mounted read-only: a real one, in a namespace of its own."""
        unshare = require("unshare", "mount")["unshare"]
        put_large = "store.put('a/b', bytes(10**6), content_type='x', sha256='0' * 64)"
        script = f"mount -t {mount} none '{tmp_path}' && exec '{sys.executable}' -c \"$0\""
        command = [str(unshare), "-rm", "sh", "-c", script, told(tmp_path / "store", put_large)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
        if "unshare failed" in done.stderr:
            pytest.skip("no namespaces here")

        assert said in done.stdout, done.stderr
        assert done.stdout.startswith("Refused storage")


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def told(root: Path, code: str) -> str:
    """A program that opens a folder, runs the code and prints what was raised."""
    return (
        "from pathlib import Path; from imagejobs.edges.bucket import open_store\n"
        f"store = open_store(Path({str(root)!r}).as_uri())\n"
        f"try: {code}\n"
        "except Exception as error: print(type(error).__name__, getattr(error, 'cause', ''), error)"
    )


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Root may do everything, so it steps down meanwhile."""
    user = os.geteuid()
    os.seteuid(65534 if user == 0 else user)
    try:
        yield
    finally:
        os.seteuid(user)


class TestBucket(EveryStore):
    """s3://…, on each S3 server."""

    @pytest.fixture(params=["first", "later"])
    def store(self, request: pytest.FixtureRequest, bucket: Bucket, opened: Open) -> Store:
        """A prefix of an empty bucket: boto3 sends the first put, those after it are signed by its example."""
        store = opened(f"s3://{bucket.name}/some/prefix/", bucket.settings)
        if request.param == "later":
            put(store, "an example")
            store.delete("an example")
        return store

    def test_an_object_is_under_the_prefix(self, store: Store, bucket: Bucket, s3_server: S3Server) -> None:
        """With its type, and its hash as metadata, for whoever looks from outside."""
        uri = put(store)
        head = s3_server.client().head_object(Bucket=bucket.name, Key=f"some/prefix/{KEY}")

        assert uri == f"s3://{bucket.name}/some/prefix/{KEY}"
        assert ("image/png", {"sha256": SHA256}) == (head["ContentType"], head["Metadata"])
        assert store.stat(KEY) == Stat(bytes=len(DATA), sha256=SHA256)

    def test_a_whole_bucket_is_a_store(self, bucket: Bucket, opened: Open, s3_server: S3Server) -> None:
        """Without a prefix."""
        assert put(opened(f"s3://{bucket.name}", bucket.settings)) == f"s3://{bucket.name}/{KEY}"
        assert s3_server.client().head_object(Bucket=bucket.name, Key=KEY)

    def test_the_process_variables_are_boto3s_own(
        self, bucket: Bucket, opened: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without a mapping, boto3 reads them itself."""
        for name, value in bucket.settings.items():
            monkeypatch.setenv(name, value)

        opened(f"s3://{bucket.name}").check()

    def test_a_plain_boto3_reads_what_we_wrote(
        self, store: Store, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With its default settings, as a notebook has it."""
        for name, value in bucket.settings.items():
            monkeypatch.setenv(name, value)
        put(store)
        client = boto3.client("s3")
        body = client.get_object(Bucket=bucket.name, Key=f"some/prefix/{KEY}")["Body"].read()
        client.close()

        assert body == DATA

    def test_a_missing_bucket_is_said(self, bucket: Bucket, opened: Open) -> None:
        """And that it can be made."""
        store = opened("s3://no-such-bucket/prefix", bucket.settings)
        with pytest.raises(Refused, match=r"bucket no-such-bucket: NoSuchBucket.*make the bucket") as error:
            put(store)

        assert error.value.cause is Cause.STORAGE
        with pytest.raises(BadSetting, match="make the bucket"):
            store.check()

    def test_a_check_leaves_nothing_behind(self, store: Store, bucket: Bucket, s3_server: S3Server) -> None:
        """The probe is deleted."""
        store.check()

        assert s3_server.client().list_objects_v2(Bucket=bucket.name)["KeyCount"] == 0

    def test_an_unknown_key_id_is_said(self, bucket: Bucket, opened: Open) -> None:
        """Without the secret, and burning nothing."""
        store = opened(f"s3://{bucket.name}", {**bucket.settings, **KEYS})
        with pytest.raises(Refused) as error:
            put(store)

        assert error.value.cause is Cause.STORAGE
        assert KEYS["AWS_SECRET_ACCESS_KEY"] not in str(error.value)

    @pytest.mark.parametrize("s3_server", ["radosgw"], indirect=True)  # the other takes any secret
    def test_a_wrong_secret_is_said(self, bucket: Bucket, opened: Open) -> None:
        """Where the store checks signatures."""
        store = opened(f"s3://{bucket.name}", {**bucket.settings, "AWS_SECRET_ACCESS_KEY": "a-very-secret-secret"})
        with pytest.raises(BadSetting, match="AWS_SECRET_ACCESS_KEY does not belong to AWS_ACCESS_KEY_ID") as error:
            store.check()

        assert "a-very-secret-secret" not in str(error.value)

    @pytest.mark.parametrize("s3_server", ["ministack"], indirect=True)  # the other ignores checksums
    def test_bytes_that_are_not_what_was_hashed_are_refused(self, store: Store) -> None:
        """Where the store checks checksums, damage on the way in is seen; it passes, so it may be tried again."""
        with pytest.raises(Transient):
            store.put(KEY, DATA, content_type="image/png", sha256="0" * 64)


@pytest.fixture(scope="module")
def host() -> Iterator[ScriptedHost]:
    """A store that says what it is told; one for all, since a client for each would take a third of a second."""
    with ScriptedHost() as host:
        yield host


def failing(code: str, more: str = "") -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>It is so.</Message>{more}</Error>".encode()


@pytest.mark.parametrize("which", ["first", "later"])
@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (answer(503, failing("SlowDown")), Transient),
        (answer(503, failing("ServiceUnavailable")), Transient),
        (answer(500, failing("InternalError")), Transient),
        (answer(502, b"<html>Bad Gateway"), Transient),
        (answer(400, failing("RequestTimeout")), Transient),
        (answer(400, failing("BadDigest")), Transient),
        (answer(429, b""), Transient),
        (hang_up, Transient),
        (answer(403, failing("AccessDenied")), Refused),
        (answer(403, failing("QuotaExceeded")), Refused),
        (answer(403, failing("RequestTimeTooSkewed")), Refused),
        (answer(400, failing("ExpiredToken")), Refused),
        (answer(400, failing("NeverHeardOf")), Refused),
        (answer(400, failing("KeyTooLongError")), Permanent),
    ],
)
def test_a_stores_refusals_are_sorted(
    reply: Act, error: type[Exception], which: str, host: ScriptedHost, opened: Open
) -> None:
    """By what to do: wait, call the owner, or give up the key. The library never tries again by itself."""
    store = opened("s3://photos/p", {**KEYS, "AWS_ENDPOINT_URL_S3": host.url})
    if which == "later":
        host.then(answer(200))
        put(store)
    host.then(reply)
    before = len(host.requests)
    with pytest.raises(error) as caught:
        put(store)

    assert caught.value.cause is Cause.STORAGE  # type: ignore[attr-defined]
    assert "photos" in str(caught.value)
    assert len(host.requests) == before + 1
    assert host.requests[-1].startswith(b"PUT /photos/p/night/images/r1-0.png HTTP/1.1\r\n")
    assert b"Expect" not in host.requests[-1]


def headers_of(request: bytes) -> dict[str, str]:
    """By name, in small letters."""
    lines = request.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def signed_for(request: bytes) -> str:
    """The region."""
    return headers_of(request)["authorization"].split("/")[2]


def test_a_put_says_what_boto3s_own_says(host: ScriptedHost, opened: Open) -> None:
    """All but the count of its tries, which are none: so a store cannot treat the one and the other differently."""
    host.then(answer(200), answer(200))
    store = opened("s3://alike/p", {**KEYS, "AWS_ENDPOINT_URL_S3": host.url, "AWS_SESSION_TOKEN": "a token"})
    for _ in range(2):
        put(store, "a b/ü.png")
    first, later = host.requests[-2:]
    differs = {"authorization", "x-amz-date", "amz-sdk-invocation-id", "amz-sdk-request"}

    assert first.partition(b"\r\n")[0] == later.partition(b"\r\n")[0]
    assert first.partition(b"\r\n\r\n")[2] == later.partition(b"\r\n\r\n")[2] == DATA
    assert {**headers_of(first), **dict.fromkeys(differs, "")} == {**headers_of(later), **dict.fromkeys(differs, "")}
    assert headers_of(later)["x-amz-content-sha256"] == SHA256


def test_a_bucket_that_is_elsewhere_is_followed_once(host: ScriptedHost, opened: Open) -> None:
    """Told of another region by a later put, boto3 signs for that one, and so does every put from then on."""
    store = opened("s3://moved/p", {**KEYS, "AWS_ENDPOINT_URL_S3": host.url, "AWS_DEFAULT_REGION": "us-west-2"})
    moved = answer(400, failing("AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>"))
    host.then(answer(200), moved, answer(200), answer(200))
    before = len(host.requests)
    for _ in range(3):
        put(store)

    assert ["us-west-2", "us-west-2", "eu-west-1", "eu-west-1"] == [signed_for(one) for one in host.requests[before:]]


def test_a_put_that_failed_leaves_no_reply_behind(host: ScriptedHost, opened: Open) -> None:
    """What the store said of one object is never taken for its word on the next."""
    store = opened("s3://photos/p", {**KEYS, "AWS_ENDPOINT_URL_S3": host.url})
    host.then(answer(200), answer(403, failing("AccessDenied")), answer(200))
    put(store)
    with pytest.raises(Refused):
        put(store)
    before = len(host.requests)
    put(store)

    assert before + 1 == len(host.requests)


def test_a_body_that_breaks_off_is_transient(host: ScriptedHost, opened: Open) -> None:
    """Reading costs nothing."""
    host.then(then_hang_up(answer(200, b"half", {"Content-Length": "9"})))
    with pytest.raises(Transient):
        opened("s3://photos/p", {**KEYS, "AWS_ENDPOINT_URL": host.url}).get(KEY)


def test_nobody_at_the_endpoint_is_said(opened: Open) -> None:
    """With the address that was tried."""
    endpoint = f"http://127.0.0.1:{free_port()}"
    store = opened("s3://photos", {**KEYS, "AWS_ENDPOINT_URL_S3": endpoint})
    with pytest.raises(Transient):
        put(store)
    with pytest.raises(BadSetting, match=f"{endpoint}.*AWS_ENDPOINT_URL_S3 right"):
        store.check()


def test_no_credentials_is_said(opened: Open) -> None:
    """With the variables that are missing."""
    store = opened("s3://photos", {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"})
    with pytest.raises(Refused, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        put(store)


@pytest.mark.parametrize(
    ("url", "environ"),
    [
        ("gs://photos/p", {}),
        ("s3:///p", {}),
        ("file://host/p", {}),
        ("photos", {}),
        ("s3://photos", {**KEYS, "AWS_ENDPOINT_URL_S3": "not a url"}),
        ("s3://photos", {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE"}),
        ("s3://photos", {"AWS_PROFILE": "no-such-profile"}),
    ],
)
def test_a_store_that_cannot_be_named_is_a_bad_setting(url: str, environ: dict[str, str]) -> None:
    """Before anything is asked of it."""
    with pytest.raises(BadSetting):
        open_store(url, environ)
