"""Names and output are UTF-8, whatever the locale of the machine says.

A file name is bytes on the disk, and UTF-8 on the wire, in metadata and in logs.  Python reads the names on a
disk by the locale: under `ko_KR.EUC-KR` every name with a letter beyond ASCII would become another one.  And
what it prints must never end the program, whatever a name contains.  Neighbours: `entry`, and the command
lines that are called as modules.
"""

from __future__ import annotations

import io
import os
import signal
import sys


def use_utf8() -> None:
    """Start this program again in UTF-8 mode if the locale wants another encoding."""
    if sys.getfilesystemencoding() != "utf-8":
        # Where nobody handles SIGHUP it would end the program meanwhile; a daemon handles it later.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606 - ourselves
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
