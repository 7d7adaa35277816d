"""Wiring: settings, services, the Celery app with its tasks and its pulse; and how a worker process runs and ends."""

from __future__ import annotations

import os
import threading
import time
import warnings

import structlog
from celery.signals import setup_logging, worker_shutting_down

from imagejobs import logs
from imagejobs.settings import Settings
from worker import consumer, pulse, tasks
from worker.services import Services, open_services

GRACE_SECONDS = 25.0  # a copy or a create in hand may finish; container platforms kill after 30

log = structlog.get_logger("imagejobs.worker")


def work(settings: Settings) -> int:
    """Run one worker process until it is told to stop. Raises BadSetting when a door does not open."""
    logs.configure(level=settings.log_level)
    setup_logging.connect(_keep_our_log, weak=False)
    # The warning is about pickled messages run as root; ours are JSON ids.
    warnings.filterwarnings("ignore", message="(?s)You're running the worker with superuser privileges")
    services = open_services(settings)
    app = services.broker.app
    stopping = threading.Event()
    worker_shutting_down.connect(lambda **_: stopping.set(), weak=False)
    clock = tasks.register(app, services, threads=settings.threads, is_leaving=stopping.is_set)
    app.steps["worker"].add(pulse.step(clock))
    app.steps["consumer"].add(consumer.step(clock.wake))
    _end_in_time(stopping)
    _announce(services)
    worker = app.Worker(
        pool="threads",
        concurrency=settings.threads,
        consumer_cls=consumer.PromptConsumer,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    )
    worker.start()
    services.close()
    return 0 if stopping.is_set() else int(worker.exitcode or 0)  # Celery's own is 1 for Ctrl-C


def _keep_our_log(**_: object) -> None:
    """Whoever answers this signal has set up logging; Celery then leaves it alone."""


def _announce(services: Services) -> None:
    settings = services.settings
    log.info(
        "worker_starts",
        account=services.account,
        redis=services.broker.shown,
        ledger=services.ledger.database.shown,
        store=settings.store_url,
        threads=settings.threads,
    )


def _end_in_time(stopping: threading.Event) -> None:
    """From the order to stop on, a thread watches the clock: a call that hangs must not hold the process for ever.

    Celery's own warm shutdown (no new messages, running tasks finish) goes on beside it, and is mostly over at once.
    """

    def watch() -> None:
        stopping.wait()
        time.sleep(GRACE_SECONDS)
        log.warning("grace_is_over", seconds=GRACE_SECONDS)
        os._exit(0)  # whatever is in hand is known to the ledger as intent or lease

    threading.Thread(target=watch, name="grace", daemon=True).start()
