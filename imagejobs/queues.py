"""The door to Redis: task and queue names, the Celery app both sides use, bulk publishing, and a client for leases.

Celery is transport and worker pool only. A message names jobs by their ledger ids and nothing else: no prompt travels,
and a message that is lost, doubled, late or forged can only make somebody look at a job that does not need it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import redis
from kombu.exceptions import KombuError

from imagejobs.errors import BadSetting
from imagejobs.settings import key_prefix

if TYPE_CHECKING:
    from celery import Celery

SUBMIT, POLL, STORE, TEND = "imagejobs.submit", "imagejobs.poll", "imagejobs.store", "imagejobs.tend"
# The order in which a worker looks: a copy before anything else, since finished outputs die within the hour;
# then looking, then house-keeping, and only then what makes more work.
IN_ORDER = (STORE, POLL, TEND, SUBMIT)

LOST_MESSAGE_SECONDS = 60.0  # after this, the ledger takes a message for lost and sends another
CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 5.0  # it answers within milliseconds, or something is wrong
LASTING_SECONDS = 300  # what has not gone wrong for so long is over
SILENT_SECONDS = 5  # a consumer that hears nothing for this long, where Redis answers every second, connects anew

BROKER_ERRORS = (redis.RedisError, KombuError, OSError)


def make_app(redis_url: str, *, account: str, threads: int = 16) -> Celery:
    """The configured Celery app. It connects when first used."""
    from celery import Celery  # slow to import: who only asks whether Redis is there does without
    from kombu import Queue

    app = Celery("imagejobs", set_as_current=False)
    app.conf.update(
        broker_url=_kombu_url(redis_url),
        broker_transport_options={**_TRANSPORT, **_keepalive(redis_url), "global_keyprefix": key_prefix(account)},
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_pool_limit=threads,
        task_queues=[Queue(name) for name in IN_ORDER],
        task_create_missing_queues=False,
        task_default_queue=TEND,
        task_routes={name: {"queue": name} for name in IN_ORDER},
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_channel_error_retry=True,  # Redis refuses a write (full, read-only): begin anew, do not end the worker
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
    )
    return app


_TRANSPORT = {
    "ack_emulation": False,  # a message in hand stands nowhere in Redis: the ledger sends for what a dead worker had
    "queue_order_strategy": "priority",  # strictly IN_ORDER
    "priority_steps": [0],  # one Redis list a queue
    "socket_connect_timeout": CONNECT_SECONDS,
    "socket_timeout": ANSWER_SECONDS,
    "health_check_interval": SILENT_SECONDS,
}


def _keepalive(redis_url: str) -> dict[str, bool]:
    """A unix socket has none, and its client refuses the word."""
    return {} if redis_url.startswith("unix://") else {"socket_keepalive": True}


def _kombu_url(redis_url: str) -> str:
    """kombu writes unix sockets its own way."""
    return redis_url.replace("unix://", "redis+socket://", 1)


class Broker:
    """Publishing, and a Redis client for the small shared facts (leases, limiter, epoch)."""

    def __init__(self, redis_url: str, *, account: str, threads: int = 16) -> None:
        self.prefix = key_prefix(account)
        self._make_app = partial(make_app, redis_url, account=account, threads=threads)
        self.redis: redis.Redis = redis.Redis.from_url(
            redis_url,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=ANSWER_SECONDS,
            **_keepalive(redis_url),
            health_check_interval=30,
            decode_responses=True,
        )
        self.shown = _without_password(redis_url)

    @cached_property
    def app(self) -> Celery:
        """The Celery app, made when something is first sent or read."""
        return self._make_app()

    def send(self, task: str, groups: Sequence[Sequence[int]]) -> None:
        """One message a group of job ids, pipelined. Raises one of BROKER_ERRORS; what was sent by then stays sent."""
        with self.app.producer_pool.acquire(block=True, timeout=ANSWER_SECONDS) as producer, producer.batch(500):
            for group in groups:
                self._publish(producer, task, [list(group)])

    def nudge(self, task: str) -> None:
        """One message without jobs, for the sweeps."""
        with self.app.producer_pool.acquire(block=True, timeout=ANSWER_SECONDS) as producer:
            self._publish(producer, task, [])

    def _publish(self, producer: Any, task: str, args: list[Any]) -> None:
        self.app.send_task(
            task, args=args, producer=producer, queue=task, retry=False, ignore_result=True, argsrepr="", kwargsrepr=""
        )

    def has_lost_messages(self) -> bool:
        """True once after Redis was flushed or replaced, or messages were `doubted`: send them anew."""
        return bool(self.redis.set(self.prefix + "epoch", "1", nx=True))

    def drop_unread(self) -> None:
        """Every job will be sent for anew: what still lies in the queues would only be read twice."""
        self.redis.delete(self.prefix + SUBMIT, self.prefix + STORE)

    def doubt(self) -> None:
        """Messages may have been lost: on a connection that broke, or in the hands of a task that could not act."""
        self.redis.delete(self.prefix + "epoch")

    def lease(self, name: str, *, seconds: float, renew: bool = False) -> bool:
        """Take a piece of work for so long, or keep it for as long from now. False: another process is at it.

        It only spares work that would be done twice, harmlessly: a lease may be lost with Redis, or outlived.
        """
        return bool(self.redis.set(self.prefix + "lease:" + name, "1", nx=not renew, px=int(seconds * 1000)))

    def release(self, name: str) -> None:
        """The work is done."""
        self.redis.delete(self.prefix + "lease:" + name)

    def lasts(self, name: str, *, now: float) -> float:
        """Since when something has gone wrong, each time it does; forgotten once it has not for `LASTING_SECONDS`."""
        key = self.prefix + "since:" + name
        self.redis.set(key, now, nx=True)
        self.redis.expire(key, LASTING_SECONDS)
        return float(self.redis.get(key) or now)

    def is_over(self, name: str) -> None:
        """It went well."""
        self.redis.delete(self.prefix + "since:" + name)

    def check(self) -> dict[str, str]:
        """Facts for `doctor`. Raises BadSetting with the way out when Redis cannot be reached or used."""
        try:
            server: Any = self.redis.info("server")
            memory: Any = self.redis.info("memory")
            persistence: Any = self.redis.info("persistence")
        except redis.AuthenticationError as error:
            raise BadSetting(f"Redis at {self.shown} refused the password in REDIS_URL: {error}") from None
        except redis.RedisError as error:
            raise BadSetting(f"Redis at {self.shown} cannot be reached ({error}): start it, or set REDIS_URL") from None
        return {
            "version": str(server.get("valkey_version", server["redis_version"])),
            "aof": "on" if persistence["aof_enabled"] else "off",
            "eviction": str(memory["maxmemory_policy"]),
        }

    def close(self) -> None:
        """Close every connection."""
        self.redis.close()
        if "app" in self.__dict__:
            self.app.close()


def _without_password(redis_url: str) -> str:
    parts = urlsplit(redis_url)
    return (
        f"{parts.scheme}://{parts.hostname}:{parts.port or 6379}{parts.path}"
        if parts.hostname
        else f"unix:{parts.path}"
    )
