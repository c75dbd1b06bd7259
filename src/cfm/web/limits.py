"""What one peer, and all together, may ask of a server: numbers, and why they are so."""

from __future__ import annotations

import contextlib
import resource
from dataclasses import dataclass
from typing import Final

_FILES_WANTED: Final = 8192


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one server; the defaults suit a node of 300 servers."""

    head_s: float = 10.0
    """From the first byte of a request (or the connection's begin) to the end of its headers."""
    body_s: float = 10.0
    """For a whole request body; ours are some hundred bytes."""
    idle_s: float = 15.0
    """A kept connection without requests.  Longer than the 5 s after which the earlier programs close
    theirs and the 4 s of ours, so that a request never meets a connection that is just being closed."""
    stall_s: float = 30.0
    """A reader that takes less than `stall_bps` for so long is closed."""
    stall_bps: int = 32_768
    dead_peer_s: float = 60.0
    """Sent bytes that nobody acknowledges for so long, or a window closed for so long, end the
    connection (the kernel's TCP_USER_TIMEOUT: it also covers sendfile)."""
    head_line_bytes: int = 8190
    head_lines: int = 64
    body_bytes: int = 64 * 1024
    connections_per_address: int = 1024
    """A whole node may stand behind one address (a demo, a proxy), with two connections a server."""
    connections: int = 2048
    """In all; fewer where the process may not open so many files."""
    stop_s: float = 4.0
    """Until everything has ended after `stop`; handlers that go on longer are cancelled before."""


def allow_many_files() -> None:
    """Raise this process's own limit of open files as far as is wanted and allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_WANTED if hard == resource.RLIM_INFINITY else min(_FILES_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # forbidden: then there are fewer connections
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def connections_that_fit(most: int) -> int:
    """At most half of the files that the process may open: the other half is for its own work."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most if soft == resource.RLIM_INFINITY else min(most, soft // 2)
