"""What one client, and all clients together, may ask of a server: the numbers, and the reason for each."""

from __future__ import annotations

import contextlib
import resource
from dataclasses import dataclass
from typing import Final

_FILES_WANTED: Final = 8192


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one server.  The defaults suit a node of 300 servers."""

    head_s: float = 10.0
    """From the first byte of a request (or the start of the connection) to the end of its headers."""
    body_s: float = 10.0
    """For a whole request body.  The bodies of both APIs have some hundred bytes."""
    idle_s: float = 60.0
    """For a connection without requests.  The earlier programs close their connections after 5 s, and ours do
    after 4 s, or after 50 s between two heartbeats.  This limit is longer, so that no request arrives on a
    connection that is just being closed."""
    stall_s: float = 30.0
    """A client that reads its answer more slowly than `stall_bps` for so long is disconnected."""
    stall_bps: int = 32_768
    dead_peer_s: float = 60.0
    """The connection ends when the client acknowledges no bytes, or keeps its window closed, for so long.
    (This is the kernel's TCP_USER_TIMEOUT; it also covers sendfile.)"""
    head_line_bytes: int = 8190
    head_lines: int = 64
    body_bytes: int = 64 * 1024
    connections_per_address: int = 1024
    """A whole node may use one address (a demo, a proxy), with two connections for each server."""
    connections: int = 2048
    """In total.  There are fewer where the process may not open so many files."""
    stop_s: float = 4.0
    """From `stop` until everything has ended.  Handlers that take longer are cancelled earlier."""


def allow_many_files() -> None:
    """Raise this process's limit of open files to what is needed, as far as that is allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_WANTED if hard == resource.RLIM_INFINITY else min(_FILES_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # not allowed: then there are fewer connections
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def connections_that_fit(most: int) -> int:
    """At most half of the files that the process may open; the other half is for its own work."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most if soft == resource.RLIM_INFINITY else min(most, soft // 2)
