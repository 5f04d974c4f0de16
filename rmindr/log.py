"""Log lines: one per event on standard output, logfmt, never an address, a text or a secret."""

from __future__ import annotations

import io
import logging
import re
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

# Written by log calls of ours and of the libraries alike, in this order, before whatever else a line carries.
_ORDER: Final = ("time", "level", "event")
# Heroku cuts lines at 10,000 bytes.
_LONGEST: Final = 6000


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
            structlog.processors.ExceptionRenderer(_where),
            _one_line,
            structlog.processors.LogfmtRenderer(key_order=_ORDER, drop_missing=True, bool_as_flag=False),
        ],
    )
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal without these letters gets their numbers: no line is lost for one of them.
        sys.stdout.reconfigure(errors="backslashreplace")
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


def _where(exc_info: Any) -> str:
    """Where an exception arose and of what kind it is, as a traceback has it, and the same of what it came from; not what it
    says: that may quote the row, the address or the text that it stumbled over."""
    told: list[str] = []
    error: BaseException | None = exc_info[1]
    while error is not None:
        frames = [
            f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)
        ]
        told = [*frames, type(error).__name__, *told]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n".join(told)


def _one_line(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """No value can end its line, colour the terminal or fill the disk, whatever it is; keys are words."""
    return {
        re.sub(r"[^\w.-]", "_", key) or "_": value
        if value is None or isinstance(value, (bool, int, float))
        else _printable(str(value))
        for key, value in event.items()
    }


def _printable(text: str) -> str:
    if len(text) > _LONGEST:
        # How it began and how it ended: of a traceback the end is the error.
        text = f"{text[: _LONGEST // 4]}…{text[-_LONGEST * 3 // 4 :]}"
    # The renderer writes the ends of lines as \n itself.
    return "".join(each if each.isprintable() or each == "\n" else repr(each)[1:-1] for each in text)
