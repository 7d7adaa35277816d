"""Settings, read once from an environment mapping. Nothing set is the embedded default."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from imagejobs.errors import BadSetting

DEFAULT_BASE_URL = "https://api.replicate.com"
DEFAULT_VERSION = "stability-ai/stable-diffusion:ac732df83cea7fff18b8472768c88ad041fa750ff7682a21affe81863cbe77e4"
MOST_ACCOUNT_CHARACTERS = 200  # what the ledger has room for
_HOST = re.compile(r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?")


class Settings(BaseModel):
    """What the environment says. Every field's alias is its variable; `docs/reference.md` is checked against them."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    home: Path = Field(Path("./imagejobs-data"), alias="IMAGEJOBS_HOME", description="the embedded default's folder")
    redis_url: str | None = Field(
        None, alias="REDIS_URL", description="broker, limiter, leases; none: an embedded server"
    )
    database_url: str | None = Field(
        None, alias="DATABASE_URL", description="the ledger; none: SQLite under the home folder"
    )
    store: str | None = Field(
        None,
        alias="IMAGEJOBS_STORE",
        description="file:///folder or s3://bucket/prefix; none: <home>/batches",
    )
    token: SecretStr | None = Field(
        None,
        alias="REPLICATE_API_TOKEN",
        description="the provider's token; sent to the base URL's host only",
    )
    base_url: str = Field(DEFAULT_BASE_URL, alias="REPLICATE_BASE_URL", description="calls go to {base}/v1/predictions")
    account: str | None = Field(
        None,
        alias="IMAGEJOBS_ACCOUNT",
        max_length=MOST_ACCOUNT_CHARACTERS,
        description="name of the account a batch belongs to; none: the base URL's host and path",
    )
    webhook_url: str | None = Field(
        None,
        alias="IMAGEJOBS_WEBHOOK_URL",
        description="where the provider reaches `imagejobs webhooks`, as https://host/path; none: no webhooks",
    )
    webhook_secret: SecretStr | None = Field(
        None,
        alias="IMAGEJOBS_WEBHOOK_SECRET",
        description="what the provider signs webhooks with; none: the provider is asked for it",
    )
    creates_per_minute: int = Field(
        600,
        alias="IMAGEJOBS_CREATES_PER_MINUTE",
        ge=0,
        description="the account's allowance of creates; 0: unlimited",
    )
    calls_per_minute: int = Field(
        3000,
        alias="IMAGEJOBS_CALLS_PER_MINUTE",
        ge=0,
        description="the account's allowance of all other calls; 0: unlimited",
    )
    version: str = Field(
        DEFAULT_VERSION,
        alias="IMAGEJOBS_VERSION",
        min_length=1,
        description="the model version of rows that name none",
    )
    unchecked: bool = Field(
        False,
        alias="IMAGEJOBS_UNCHECKED",
        description="1: accept inputs of models whose schema cannot be had",
    )
    threads: int = Field(16, alias="IMAGEJOBS_THREADS", ge=2, le=500, description="threads of one worker process")
    max_tries: int = Field(
        4,
        alias="IMAGEJOBS_MAX_TRIES",
        ge=1,
        le=100,
        description="paid tries a job may use up before it fails, by the shell that submits or retries it",
    )
    job_seconds: float = Field(
        1800,
        alias="IMAGEJOBS_JOB_SECONDS",
        ge=5,
        description="a prediction's time limit, sent as Cancel-After",
    )
    keep_seconds: float = Field(
        3600, alias="IMAGEJOBS_KEEP_SECONDS", gt=0, description="how long the provider keeps an output"
    )
    settle_seconds: float = Field(
        10,
        alias="IMAGEJOBS_SETTLE_SECONDS",
        ge=0,
        description="how far the provider's list may lag behind its creates",
    )
    read_seconds: float = Field(
        60,
        alias="IMAGEJOBS_READ_SECONDS",
        gt=0,
        description="time-out of a whole reply of the provider; a download may take five such",
    )
    on_unknown: Literal["hold", "resubmit"] = Field(
        "hold",
        alias="IMAGEJOBS_ON_UNKNOWN",
        description="a lost reply at a provider without a list: hold the job, or submit it again and count the risk",
    )
    max_image_bytes: int = Field(
        64 * 2**20,
        alias="IMAGEJOBS_MAX_IMAGE_BYTES",
        gt=0,
        description="an output larger than this is refused",
    )
    max_image_pixels: int = Field(
        50_000_000,
        alias="IMAGEJOBS_MAX_IMAGE_PIXELS",
        gt=0,
        description="an image of more pixels is refused before it is decoded",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", alias="IMAGEJOBS_LOG_LEVEL", description="what the log tells"
    )

    @field_validator("base_url", "webhook_url")
    @classmethod
    def _usable_base(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = _split(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must look like https://host or https://host/path")
        if not _HOST.fullmatch(parts.hostname) and "[" not in parts.netloc:
            raise ValueError("must name a host that can be looked up (an international name is written as xn--…)")
        if len(value) > MOST_ACCOUNT_CHARACTERS:
            raise ValueError(f"must be {MOST_ACCOUNT_CHARACTERS} characters at most")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("must carry no user, password, query or fragment")
        if parts.scheme == "http" and parts.hostname not in LOOPBACK:
            raise ValueError("must be https: what goes over http can be read on the way (http is for loopback only)")
        return value.rstrip("/")

    @field_validator("redis_url")
    @classmethod
    def _usable_redis(cls, value: str | None) -> str | None:
        if value is not None and _split(value).scheme not in ("redis", "rediss", "unix"):
            raise ValueError("must begin with redis://, rediss:// or unix://")
        return value

    @field_validator("database_url")
    @classmethod
    def _usable_database(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("sqlite:///", "postgresql+psycopg://")):
            raise ValueError("must begin with postgresql+psycopg:// or sqlite:///")
        return value

    @field_validator("store")
    @classmethod
    def _usable_store(cls, value: str | None) -> str | None:
        parts = _split(value or "file:///")
        if parts.scheme == "s3" and parts.hostname:
            return value
        if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
            return value
        raise ValueError("must be s3://bucket/prefix or file:///absolute/folder")

    @classmethod
    def read(cls, environ: Mapping[str, str], **overrides: Any) -> Self:
        """The settings in `environ`; `overrides` are by variable name and win.

        Raises BadSetting naming the variable and the way out. The value itself is not repeated: a URL may hold
        a password, and a token never belongs on a screen.
        """
        known = {field.alias for field in cls.model_fields.values()}
        values = {name: value for name, value in environ.items() if name in known and value != ""}
        try:
            return cls.model_validate({**values, **overrides})
        except ValidationError as error:
            faults = [f"{fault['loc'][0]}: {fault['msg'].removeprefix('Value error, ')}" for fault in error.errors()]
            raise BadSetting("bad setting: " + "; ".join(faults)) from None

    @property
    def database(self) -> str:
        """The ledger's URL."""
        return self.database_url or f"sqlite:///{self.home.resolve() / 'ledger.sqlite'}"

    @property
    def store_url(self) -> str:
        """The store's URL, without a trailing slash."""
        return (self.store or (self.home.resolve() / "batches").as_uri()).rstrip("/")

    @property
    def account_name(self) -> str:
        """Whose allowance and whose jobs: workers touch the batches of their own account only."""
        return self.account or self.base_url.split("://", 1)[1]


def key_prefix(account: str) -> str:
    """What every Redis key of an account begins with: queues, leases and limiter of two accounts never meet."""
    return f"imagejobs:{account}:"


def _split(value: str) -> SplitResult:
    """The URL's parts. Python's own complaint about one that is none would repeat it, password and all."""
    try:
        parts = urlsplit(value)
        _ = parts.port  # checked only when it is asked for
    except ValueError:
        raise ValueError("is no URL: look at its brackets and its port") from None
    return parts


LOOPBACK = ("127.0.0.1", "localhost", "::1")
