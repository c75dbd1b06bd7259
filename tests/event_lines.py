"""Lines of a load balancer's event log, each of a stream of its own."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Final

IP: Final = "125.159.40.3"
"""The server that reads from the SAN."""
T0: Final = 1_527_951_600
"""2018-06-02 15:00 UTC."""
LOG: Final = "EventLog[20180602].log"
NEXT_LOG: Final = "EventLog[20180603].log"
_streams = itertools.count(1)


def line(name: str, at_s: int = T0, ip: str = IP, stream: str | None = None) -> bytes:
    """One hit; `stream` makes it the same hit as another one."""
    stream = f"609d8714-096a-475e-994c-{next(_streams):012x}" if stream is None else stream
    head = f"0x40ffff,1,{at_s},Server {ip} Selected for Client StreamID : {stream}"
    return f"{head}, GLB IP : 1's file({name}) Request\n".encode()


def lines(*names: str, at_s: int = T0, ip: str = IP) -> bytes:
    return b"".join(line(name, at_s, ip) for name in names)


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def write_at(path: Path, offset: int, data: bytes) -> None:
    """As `dd conv=notrunc seek=OFFSET`: before it is a hole, where nothing was."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)
