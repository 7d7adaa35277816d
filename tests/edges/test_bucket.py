"""The store's door to a bucket, on an emulator and on a real object store."""

from __future__ import annotations

import boto3
import pytest

from imagejobs.edges.store import Stat, Store
from imagejobs.errors import BadSetting, Cause, Refused, Transient
from tests.edges.every_store import DATA, KEY, KEYS, SHA256, EveryStore, Open, put
from tests.servers.s3 import Bucket, S3Server


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
