"""What one peer, and all together, may ask of a server: numbers, and why they are so."""

from __future__ import annotations

import resource
from dataclasses import dataclass, field
from typing import Final

MOST_CONNECTIONS: Final = 2048


def connections_that_fit() -> int:
    """Half of the file descriptors that the process may open: the other half is for its own work."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_CONNECTIONS if soft == resource.RLIM_INFINITY else min(MOST_CONNECTIONS, max(64, soft // 2))


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
    connections_per_address: int = 256
    """A whole node may stand behind one address (a demo, a proxy), with two connections a server."""
    connections: int = field(default_factory=connections_that_fit)
    stop_s: float = 4.0
    """Until everything has ended after `stop`; handlers that go on longer are cancelled before."""
