"""One log stream: structlog's events and everybody else's records (Celery's too), JSON lines or, on a terminal, text.

Events are names in snake_case with facts beside them; `batch`, `job_id` and `prediction_id` are bound as context.
No prompt and no token is ever logged: stages log ids, and what looks like a bearer is taken out at the last step.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_SECRET = re.compile(r"\b(r8_[A-Za-z0-9]{8,}|(?:Bearer|Token)\s+[^\s\"',]+|://[^/\s:@]*:[^/\s@]+@)")


def configure(*, level: str = "info", stream: TextIO | None = None) -> None:
    """Set up the process's log. Called once, by whoever owns the process."""
    stream = stream or sys.stderr
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _without_secrets,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        cache_logger_on_first_use=True,
    )
    render: Processor = (
        structlog.dev.ConsoleRenderer() if stream.isatty() else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    finish = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, render]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=finish))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("urllib3", "botocore", "boto3", "s3transfer", "kombu", "celery", "PIL"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _without_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {name: _SECRET.sub("[secret]", value) if isinstance(value, str) else value for name, value in event.items()}
