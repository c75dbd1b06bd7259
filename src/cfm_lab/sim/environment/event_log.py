"""The event log of a simulated load balancer: written as lines, and read by the product's own parser.

The whole window is written anew when it moves.  Beside the hits it has what a real log has: other events, a
server whose address begins like ours, lines that are torn, garbled or too long, and a last line that is not
whole yet.  All lines may come twice, or have the time of a clock that is hours behind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from cfm.inputs.event_log import Batch, Hit, Skipped
from cfm.inputs.hit_window import HitWindow
from cfm.inputs.log_watch import LogWatch
from cfm.model import Hits, LogState, Now

ParseLine = Callable[[bytes, str], Hit | Skipped | None]

OUR_IP: Final = "10.0.9.3"
"""The address of the server that reads from the SAN."""
OTHER_IP: Final = "10.0.9.39"
BASE: Final = 5
TERM_S: Final = 600
AT_S: Final = 1_700_000_000
_sign = re.compile(r"[^A-Za-z0-9._-]")


def loggable(hits: Hits) -> Hits:
    """The hits whose names the log can contain: letters, digits, `.`, `-` and `_`."""
    rising = {name: number for name, number in hits.rising.items() if _sign.search(name) is None}
    return Hits(rising, frozenset(name for name in hits.watched if _sign.search(name) is None))


def text_of(hits: Hits, *, torn: bool = False, doubled: bool = False, behind_s: int = 0) -> bytes:
    """The lines of one window.

    With `torn`, some of them are broken.  With `doubled`, each comes twice.  `behind_s` is how far the log's
    clock is behind cfm's.
    """
    lines = [_line(OUR_IP, name, i) for name, number in hits.rising.items() for i in range(number)]
    lines += [_line(OTHER_IP, name, -i) for name in sorted(hits.watched) for i in range(1, BASE + 1)]
    lines += [_line(OUR_IP, "ONCE.mpg"), b"0x40ffff,4,1,File Not Found, UUID : 1, GLB IP : 1, X.mpg", b""]
    if doubled:
        lines *= 2
    if torn:
        whole = _line(OUR_IP, "TORN.mpg")
        lines += [whole[:at] for at in (3, 9, 24, 40, len(whole) - 9)]
        lines += [whole + b"\r", b"\0" * 40, b"\xff\xfe" + whole, b"0x40ffff," + b"9" * 70_000]
    text = b"\n".join(lines) + b"\n" + _line(OUR_IP, "LAST.mpg")[:50]
    return text.replace(b",%d," % AT_S, b",%d," % (AT_S - behind_s))


def _line(server: str, name: str, stream: int = 0) -> bytes:
    head = f"0x40ffff,1,{AT_S},Server {server} Selected for Client StreamID : {stream}, ClientID : 0"
    return f"{head}, GLB IP : 10.0.9.1's file({name}) Request".encode()


def read(text: bytes, parse_line: ParseLine) -> tuple[Hits, LogState]:
    """The hits that a cfm reads in it, and what it tells of the log.  A last line without an end is left for
    later."""
    now = Now(0, AT_S * 1000)
    window, watch = HitWindow(TERM_S, BASE, now), LogWatch("/logs", 1000 * TERM_S, now)
    hits = tuple(_hits(text, parse_line))
    for hit in hits:
        window.add(hit, now, live=True)
    state = watch.note(Batch(hits, live=True, lines=len(hits)), window, now)
    return window.hits(now), state


def _hits(text: bytes, parse_line: ParseLine) -> Iterator[Hit]:
    whole, _end, _torn = text.rpartition(b"\n")
    for line in whole.split(b"\n"):
        parsed = parse_line(line, OUR_IP)
        if isinstance(parsed, Hit):
            yield parsed
