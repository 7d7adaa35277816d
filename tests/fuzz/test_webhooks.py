"""Webhooks are sent by anybody who finds the address: only what the provider signed lately is believed."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from imagejobs.edges.webhooks import (
    TOLERANCE_SECONDS,
    AttemptTag,
    Forged,
    address,
    read_secret,
    read_tag,
    tag_of,
    verify,
)
from tests.desk import NOW
from tests.fuzz.budget import examples
from tests.fuzz.mutants import JUNK, TEXTS
from tests.making import a_job

KEY = b"0123456789abcdef01234567"
HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")


def signed(body: bytes, *, key: bytes = KEY, at: float = NOW, name: str = "msg_1") -> dict[str, str]:
    """The headers with which the provider would send it."""
    text = f"{name}.{at:.0f}.".encode() + body
    signature = base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
    return dict(zip(HEADERS, (name, f"{at:.0f}", f"v1,{signature}"), strict=True))


def is_believed(body: bytes, headers: dict[str, str], *, now: float = NOW) -> bool:
    try:
        verify(body, headers, key=KEY, now=now)
    except Forged as error:
        assert KEY.decode() not in str(error)
        return False
    return True


@given(st.binary(max_size=200), st.text(st.characters(codec="ascii"), max_size=20))
@settings(max_examples=examples(100))
def test_what_the_provider_signed_is_believed(body: bytes, name: str):
    """Whatever it says, also beside signatures of other versions and keys."""
    headers = signed(body, name=name)
    assert is_believed(body, headers)
    assert is_believed(body, {**headers, "webhook-signature": f"v1a,x v1,AAAA {headers['webhook-signature']}"})


@given(st.binary(min_size=1, max_size=100), st.sampled_from(HEADERS), TEXTS, st.integers(0, 10**6), st.integers(1, 255))
@settings(max_examples=examples(200))
def test_what_was_changed_on_the_way_is_not(body: bytes, header: str, text: str, place: int, difference: int):
    """One byte of the body, any header, another key."""
    headers = signed(body)
    changed = bytearray(body)
    changed[place % len(body)] ^= difference

    assert not is_believed(bytes(changed), headers)
    assert not is_believed(body, signed(body, key=b"x" * 24))
    assert not is_believed(body, {name: value for name, value in headers.items() if name != header})
    assume(text != headers[header] and headers[header] not in text.split())
    assert not is_believed(body, {**headers, header: text})


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12))
@settings(max_examples=examples(60))
def test_what_was_signed_long_ago_is_not(age: float):
    """A replay of yesterday's, and a clock that is far ahead."""
    assume(abs(age) > TOLERANCE_SECONDS + 1)
    assert not is_believed(b"{}", signed(b"{}"), now=NOW + age)


@given(JUNK | st.builds("https://h/p?{}attempt={}{}".format, TEXTS, TEXTS | st.integers().map(str), TEXTS))
@settings(max_examples=examples(200))
def test_any_address_names_an_attempt_or_none(url: Any):
    """A tag is small enough for the database, and the same when it is written again."""
    tag = read_tag(url)
    assert tag is None or isinstance(tag, AttemptTag)
    if tag is not None:
        assert tag.job_id < 2**63
        assert tag == read_tag(f"https://h/p?attempt={tag}")


@given(st.integers(1, 10**12), st.integers(1, 10**6), st.text(max_size=20))
@settings(max_examples=examples(60))
def test_our_own_address_names_our_attempt(number: int, attempt: int, row: str):
    """And is of no other job."""
    job = a_job(id=number, attempt=attempt, row_id=row.encode(errors="replace").decode())
    tag = read_tag(address("https://hooks.example.com/in", job))

    assert tag_of(job) == tag
    assert tag is not None
    assert tag.is_of(job)
    assert not tag.is_of(a_job(id=number + 1, attempt=attempt, row_id=job.row_id))


@given(TEXTS | st.binary(max_size=40).map(lambda key: "whsec_" + base64.b64encode(key).decode()))
@settings(max_examples=examples(100))
def test_any_secret_is_a_key_or_no_secret(text: str):
    """And what is none is not repeated."""
    try:
        assert len(read_secret(text)) >= 16
    except ValueError as error:
        assert len(text) < 6 or text not in str(error)
