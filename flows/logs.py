"""One log for everything: structlog and the standard library's loggers write the same lines to standard error."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

import structlog
from structlog.typing import Processor

from flows.sections import Log

_QUIET = {"kafka": logging.CRITICAL, "asyncio": logging.WARNING, "numba": logging.WARNING}
"""Libraries that talk too much, and from which level on they are heard unless the level is debug: of a broker that is
gone kafka-python writes several errors a second, where the reader tells of the outage once."""


def configure_logs(settings: Log, process: int | None = None) -> None:
    """Write log lines to standard error from now on; `process` is bound to every line of a worker."""
    shared: Sequence[Processor] = (
        _naming(process),
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    )
    last: list[Processor]
    if settings.format == "json":
        last = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        last = [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                exception_formatter=structlog.dev.plain_traceback,  # the rich one prints locals, shoppers' ids too
            )
        ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(logging.INFO if settings.level == "debug" else level)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _naming(process: int | None) -> Processor:
    """Puts the process's number into every line, whichever thread writes it."""

    def name(_logger: object, _method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
        if process is not None:
            line.setdefault("process", process)
        return line

    return name
