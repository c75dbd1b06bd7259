"""Log records as structlog hands them to the standard library, and the lines that become of them."""

from __future__ import annotations

import logging
from datetime import datetime

from cfm.logs import LineFormatter

NOON = datetime(2018, 6, 2, 12, 0, 0).astimezone().timestamp()


def record(event: str, at: float = NOON, **facts: object) -> logging.LogRecord:
    known = {"levelno": logging.INFO, "levelname": "INFO", "name": "cfm.test", "created": at}
    return logging.makeLogRecord(known | {"msg": {"event": event, **facts}, "_logger": None, "_name": "info"})


def line_of(of: logging.LogRecord) -> str:
    return LineFormatter().format(of)


def after_time(line: str) -> str:
    return line.split(" ", 1)[1]
