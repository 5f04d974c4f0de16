"""Log lines: one per event on standard output, logfmt, never an address, a text or a secret."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

# Written by log calls of ours and of the libraries alike, in this order, before whatever else a line carries.
_ORDER = ("time", "level", "event")


def configure(level: int = logging.INFO) -> None:
    """Send structlog's and the standard library's log lines to standard output, as logfmt."""
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _one_line,
            structlog.processors.LogfmtRenderer(key_order=_ORDER, drop_missing=True, bool_as_flag=False),
        ],
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    # uvicorn's own handlers would print every line twice; one line per request is the web tier's own.
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = name != "uvicorn.access"
    # Libraries that tell their every step.
    for name in ("alembic", "mail.log", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _one_line(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """No value can end its line or colour the terminal; keys that logfmt cannot carry lose their spaces."""
    return {
        key.replace(" ", "_"): _printable(value) if isinstance(value, str) else value for key, value in event.items()
    }


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
