"""Addresses and settings: of outputs, of redirects, of everything a person configures. Refused in words, or usable."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagejobs.clock import SystemClock
from imagejobs.edges.bucket import open_store
from imagejobs.edges.download import Downloader, Gone
from imagejobs.edges.provider import Provider
from imagejobs.errors import BadSetting, Cause, NotSent, OutcomeUnknown, Permanent, Refused, Throttled, Transient
from imagejobs.ledger.engine import Database
from imagejobs.settings import Settings
from tests.edges.scripted_host import ScriptedHost
from tests.fuzz.budget import examples
from tests.fuzz.replies import last_answer

SECRET = "hunter2~very^secret"
PRINTABLE = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=20)  # what an output's address may hold
HOSTS = st.sampled_from(
    [
        *("127.0.0.1", "localhost", "[::1]", "[::1", "10.0.0.1", "169.254.169.254", "0x7f.1", "2130706433", "0", ""),
        *(
            "[::ffff:127.0.0.1]",
            "[fe80::1%25lo]",
            "a" * 70,
            "xn--",
            "é.example",
            "*",
            "..",
            "a..b",
            "127.0.0.1:0",
            "h:99999",
        ),
        *(
            "127.0.0.1:port",
            "user:pw@127.0.0.1",
            "127.0.0.1:9@127.0.0.1:9",
            "127.0.0.1#@x",
            "127.0.0.1\\@x",
            "\uff11",
            "℀",
        ),
    ]
)
SCHEMES = st.sampled_from(
    ["http", "https", "HTTP", "ftp", "file", "data", "javascript", "", "http:", "s3", "blob", "h ttp"]
)
ADDRESSES = st.builds("{}://{}/{}".format, SCHEMES, HOSTS, PRINTABLE) | PRINTABLE


@pytest.fixture(scope="module")
def host() -> Iterator[ScriptedHost]:
    """A file host that answers as it is told."""
    with ScriptedHost() as host:
        yield host


@pytest.fixture(scope="module")
def downloader() -> Iterator[Downloader]:
    """The door, beside a provider on loopback: whatever else it is pointed at, it must refuse or fail at once."""
    door = Downloader(Settings.read({"REPLICATE_BASE_URL": "http://127.0.0.1:9", "IMAGEJOBS_READ_SECONDS": "5"}))
    yield door
    door.close()


def fetched(downloader: Downloader, url: str) -> bytes | None:
    try:
        return downloader.fetch(url, max_bytes=1000)
    except (Permanent, Transient) as error:
        assert error.cause is Cause.DOWNLOAD
        assert len(str(error)) < 1000
        str(error).encode()
        return None
    except Gone:
        return None


@given(ADDRESSES)
@settings(max_examples=examples(200))
def test_any_address_is_fetched_or_refused(downloader: Downloader, url: str):
    """No address raises anything but what `fetch` declares. None of these has a file behind it."""
    assert url[:5].lower() == "data:" or fetched(downloader, url) is None


@given(ADDRESSES.filter(lambda text: text.isascii()), st.sampled_from([301, 302, 303, 307, 308]))
@settings(max_examples=examples(80))
def test_any_redirect_is_followed_or_refused(host: ScriptedHost, downloader: Downloader, location: str, status: int):
    """The second address is as little trusted as the first."""
    host.then(last_answer(status, b"", {"Location": location}))
    host.then(*[last_answer(404, b"", {})] * 6)

    assert fetched(downloader, f"{host.url}/out-0.png") is None
    while host._acts:
        host._acts.popleft()


@given(st.binary(max_size=900), st.sampled_from(["image/png", "", "text/plain;charset=x", "a;b;c"]), st.booleans())
@settings(max_examples=examples(80))
def test_what_a_data_uri_carries_comes_out(downloader: Downloader, data: bytes, kind: str, is_url_safe: bool):
    """In either alphabet of base64."""
    text = (base64.urlsafe_b64encode if is_url_safe else base64.b64encode)(data).decode()

    assert data == fetched(downloader, f"data:{kind};base64,{text}")
    assert data == fetched(downloader, f"data:{kind};base64,{text.rstrip('=')}")


@given(
    PRINTABLE, st.sampled_from(["data:", "DATA:", "data:;base64", "data:;base64,", "data:,", "data:image/png;base64,%"])
)
@settings(max_examples=examples(80))
def test_any_data_uri_is_read_or_refused(downloader: Downloader, tail: str, head: str):
    """Percent signs, half a base64, no comma."""
    found = fetched(downloader, head + tail)
    assert found is None or len(found) <= 1000


@given(
    st.sampled_from([200, 204, 206, 304, 403, 404, 410, 416, 429, 500, 503, 999]),
    st.sampled_from(
        [
            {},
            {"Content-Length": "9" * 5000},
            {"Content-Length": "-1"},
            {"Content-Length": "5, 5"},
            {"Content-Encoding": "gzip"},
            {"Transfer-Encoding": "chunked"},
            {"Retry-After": "9" * 400},
        ]
    ),
    st.binary(max_size=300),
)
@settings(max_examples=examples(100))
def test_any_reply_is_a_file_or_a_failure(
    host: ScriptedHost, downloader: Downloader, status: int, headers: dict[str, str], body: bytes
):
    """Lengths that lie, encodings that are none."""
    host.then(last_answer(status, body, headers))
    found = fetched(downloader, f"{host.url}/out-0.png")
    assert found is None or (status == 200 and len(found) <= 1000)


VALUES: dict[str, Any] = {
    "REPLICATE_BASE_URL": st.builds(
        "{}://{}{}/{}".format, SCHEMES, st.sampled_from(["", f"u:{SECRET}@"]), HOSTS, PRINTABLE
    ),
    "REDIS_URL": st.builds(
        "{}://:{}@{}/{}".format, st.sampled_from(["redis", "rediss", "unix", "x"]), st.just(SECRET), HOSTS, PRINTABLE
    ),
    "DATABASE_URL": st.builds(
        "{}://u:{}{}@{}/{}".format,
        st.sampled_from(["postgresql+psycopg", "sqlite", "sqlite:/", "mysql", "postgresql"]),
        st.just(SECRET),
        st.sampled_from(["", "[", "]", "℀", "@", ":", "/", "%zz"]),
        HOSTS,
        PRINTABLE,
    ),
    "IMAGEJOBS_STORE": st.builds(
        "{}://{}{}/{}".format,
        st.sampled_from(["s3", "file", ""]),
        st.sampled_from(["", f"u:{SECRET}@"]),
        HOSTS,
        PRINTABLE,
    ),
    "IMAGEJOBS_WEBHOOK_URL": st.builds(
        "{}://{}{}/{}".format, SCHEMES, st.sampled_from(["", f"u:{SECRET}@"]), HOSTS, PRINTABLE
    ),
    "REPLICATE_API_TOKEN": st.just(SECRET) | st.text(max_size=20).map(lambda text: SECRET + text),
    "IMAGEJOBS_CREATES_PER_MINUTE": st.sampled_from(["-1", "1e9", "9" * 5000, "nan", "", " 7 ", "0x10", "٣"]),
    "IMAGEJOBS_JOB_SECONDS": st.sampled_from(["nan", "inf", "-inf", "1e400", "5", "4.9"]),
    "IMAGEJOBS_ACCOUNT": PRINTABLE | st.just("a" * 300),
    "IMAGEJOBS_UNCHECKED": PRINTABLE,
    "IMAGEJOBS_VERSION": PRINTABLE,
}


@given(st.fixed_dictionaries({}, optional=VALUES))
@settings(max_examples=examples(300))
def test_settings_are_usable_or_refused_without_a_secret_said(environ: dict[str, str]):
    """Each door opens with what was accepted, or says that it cannot: in words that hold no password and no token."""
    try:
        accepted = Settings.read(environ)
        assert accepted.database
        assert 0 < len(accepted.account_name) <= 200
        for seconds in (accepted.job_seconds, accepted.keep_seconds, accepted.settle_seconds, accepted.read_seconds):
            assert 0 <= seconds < float("inf")
        if "IMAGEJOBS_STORE" in environ and accepted.store_url.startswith("s3:"):
            open_store(accepted.store_url)
        if accepted.database_url and accepted.database_url.startswith("postgresql"):
            database = Database(accepted.database)
            assert SECRET not in database.shown
            database.close()
        Provider(accepted, clock=SystemClock()).close()
        Downloader(accepted).close()
    except BadSetting as error:
        assert SECRET not in f"{error}{error.__cause__}"
        assert SECRET[:7] not in str(error)


@given(
    st.builds(
        "{}://{}{}".format,
        st.sampled_from(["http", "https"]),
        HOSTS,
        st.sampled_from(["", "/", "/replicate", "/a b", "/%zz"]),
    )
)
@settings(max_examples=examples(60))
def test_a_base_url_that_is_accepted_can_be_called(url: str):
    """Or not reached: but never an address of which only the first call finds out that it is none."""
    try:
        accepted = Settings.read({"REPLICATE_BASE_URL": url, "IMAGEJOBS_READ_SECONDS": "2"})
    except BadSetting:
        return
    provider = Provider(accepted, clock=SystemClock())
    try:
        provider.create(version="o/m:v", input={}, cancel_after_seconds=60)
    except (NotSent, OutcomeUnknown, Permanent, Refused, Throttled):
        pass
    finally:
        provider.close()
