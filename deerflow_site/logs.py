"""What a log line looks like: one JSON object a line, or coloured text when a person watches the terminal."""

import logging
import logging.config
from typing import Any

import structlog
from structlog.typing import Processor

SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


class WithoutClientErrorTracebacks(logging.Filter):
    """Keeps the line of a 4xx answer and drops its traceback: the client made the mistake, and may make it often."""

    def filter(self, record: logging.LogRecord) -> bool:
        status = getattr(record, "status_code", None)
        if isinstance(status, int) and status < 500:
            record.exc_info = None
            record.levelno, record.levelname = logging.WARNING, "WARNING"
        return True


def renderers(for_a_person: bool) -> list[Processor]:
    """The last processors of a line. Tracebacks never show local variables: those hold keys and conversations."""
    if for_a_person:
        plain = structlog.dev.plain_traceback
        return [structlog.dev.ConsoleRenderer(exception_formatter=plain)]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]


def logging_config(level: str, *, for_a_person: bool) -> dict[str, Any]:
    """Django's LOGGING: everything goes to standard error through structlog."""
    drop_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"client_errors": {"()": WithoutClientErrorTracebacks}},
        "formatters": {
            "line": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": SHARED,
                "processors": [drop_meta, *renderers(for_a_person)],
            }
        },
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["client_errors"]},
        },
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            # Django's own handlers would print the same records a second time.
            "django": {"handlers": [], "level": level, "propagate": True},
            "django.server": {"handlers": [], "level": level, "propagate": True},
            # httpx logs the whole address of every request, query strings included.
            "httpx": {"level": "WARNING"},
            # Tells how it starts; `serve` says where it listens.
            "daphne": {"level": "WARNING"},
            # Prints a traceback every second while Redis is away, of which `runs.log.hub` tells in a line.
            "channels_redis": {"level": "CRITICAL"},
            # Tells of every tick of the cluster.
            "procrastinate": {"level": "WARNING"},
            "httpcore": {"level": "WARNING"},
        },
    }


def configure_structlog() -> None:
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *SHARED,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
