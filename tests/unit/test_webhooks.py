"""Webhooks: an address names one attempt, and only the provider's own word counts."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from imagejobs.edges.dialects import read_prediction
from imagejobs.edges.webhooks import Forged, address, read_secret, read_tag, tag_of, verify
from tests.making import a_job, a_prediction
from worker.lookup import resolve
from worker.outcomes import Absent, Accepted

KEY = b"a key of the provider's"
NOW = 1_700_000_000.0
BODY = b'{"id": "p1"}'
BASE = "https://hooks.example.com/in"


def signed(body: bytes = BODY, *, key: bytes = KEY, at: float = NOW) -> dict[str, str]:
    """The provider's headers."""
    stamp = f"{at:.0f}"
    digest = hmac.new(key, f"msg_1.{stamp}.".encode() + body, hashlib.sha256).digest()
    signature = f"v0,old v1,{base64.b64encode(digest).decode()}"
    return {"webhook-id": "msg_1", "webhook-timestamp": stamp, "webhook-signature": signature}


def test_an_address_names_its_attempt():
    """And is read back from it, and from a prediction that shows it."""
    job = a_job(attempt=3)
    url = address(BASE, job)
    shown = read_prediction({"id": "p1", "status": "starting", "webhook": url})

    assert tag_of(job) == read_tag(url)
    assert shown is not None
    assert tag_of(job) == shown.tag


@pytest.mark.parametrize(
    "url", [None, 5, "", BASE, f"{BASE}?attempt=", f"{BASE}?attempt=1.2.zz", f"{BASE}?attempt=1.2.3", "http://[::1"]
)
def test_other_addresses_name_none(url):
    """Somebody else's webhooks are of no concern."""
    assert read_tag(url) is None


def test_another_ledgers_attempt_of_the_same_numbers_is_not_ours():
    """Ledgers of one account count alike; batch and row tell them apart."""
    assert not tag_of(a_job(batch="elsewhere")).is_of(a_job())
    assert tag_of(a_job(attempt=9)).is_of(a_job())


def test_the_providers_signature_is_accepted():
    """One right one among several is enough: keys are rotated."""
    verify(BODY, signed(), key=KEY, now=NOW + 60)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        signed(key=b"another"),
        signed(b"other bytes"),
        signed(at=NOW - 3600),
        {**signed(), "webhook-id": "msg_2"},
        {**signed(), "webhook-timestamp": "soon"},
        {**signed(), "webhook-signature": ""},
    ],
)
def test_anything_else_is_refused(headers):
    """Unsigned, wrongly signed, changed, or old."""
    with pytest.raises(Forged):
        verify(BODY, headers, key=KEY, now=NOW)


def test_a_secret_is_read_or_refused():
    """As the provider writes it."""
    assert read_secret(f"whsec_{base64.b64encode(KEY).decode()}") == KEY
    with pytest.raises(ValueError, match="whsec_"):
        read_secret("whsec_not base64!")
    with pytest.raises(ValueError, match="bytes at least"):
        read_secret("whsec_")  # with no key at all, anybody could sign


def test_a_prediction_that_names_another_job_is_not_adopted():
    """Its twin's own reply may still be on its way."""
    twin = a_prediction(tag=tag_of(a_job(id=8, row_id="r2")))
    (decided,) = resolve([a_job(prediction_id=None)], [twin], set(), now=NOW)

    assert isinstance(decided[1], Absent)


def test_a_prediction_that_names_this_job_is_adopted_though_its_input_is_gone():
    """The second proof."""
    job = a_job(prediction_id=None)
    (decided,) = resolve([job], [a_prediction(input=None, tag=tag_of(job))], set(), now=NOW)

    assert Accepted(prediction_id="p1", at=1000.5) == decided[1]


def test_of_twins_each_gets_the_prediction_that_names_it():
    """Whatever their order."""
    jobs = [a_job(id=7, row_id="r1", prediction_id=None), a_job(id=8, row_id="r2", prediction_id=None)]
    listed = [a_prediction(id=f"of {job.id}", tag=tag_of(job)) for job in jobs]

    for order in (listed, listed[::-1]):
        found = [outcome.prediction_id for _, outcome in resolve(jobs, order, set(), now=NOW)]  # type: ignore[union-attr]
        assert ["of 7", "of 8"] == found
