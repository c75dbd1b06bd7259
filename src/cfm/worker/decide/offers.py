"""A task as a worker holds it, and the reasons to refuse one.

Pure.  `downloads` refuses what `objection` objects to, before anything is written or connected.  `act.state`
keeps held tasks and their final reports across restarts; `wire` has their form on the wire.

A worker does not know the node's servers, so it cannot check whether a source is one of them.  It can only
refuse to connect to what cannot be a worker of the same network, whoever asks for it.  A loopback address
is refused, unless this worker or its cfm is itself on the loopback (a demo, a test).  The worker's own
address is accepted: a server with both roles copies from its SAN to its disks where no other source is
free.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cfm.model import Addr, Status, host_of
from cfm.names import is_file_name
from cfm.wire import TaskOffer, TaskReport

BUSY: Final = "busy"
"""The one error that cfm knows by name: the source serves others.  Try again after `retry_after_s`."""
MAX_PATH_BYTES: Final = 4096

_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})", re.ASCII)
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*", re.ASCII)
_SYSTEM_PORTS_END = 1024
_NUMBER_LABEL = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*", re.ASCII)

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class HeldTask:
    """A task that the worker took, and how the task ended, if it has ended."""

    offer: TaskOffer
    final: TaskReport | None = None


def is_final(report: TaskReport) -> bool:
    """Does the report say how the task ended?  Such a report is durable, and repeated until cfm answers."""
    return report.status is not Status.WORKING


def failure(error: str, retry_after_s: int | None = None, *, own_disk: bool = False) -> TaskReport:
    return TaskReport(Status.FAILED, error=error, retry_after_s=retry_after_s, own_disk=own_disk)


def in_old_words(report: TaskReport) -> TaskReport:
    """The report as an old cfm hears it: a status, and nothing else.

    An old cfm frees source and destination only for a task that is `done`.  After `timeout` both would wait
    for its whole time limit.  So each end is `done` to it, as an old cfw says.  It learns from the file list
    whether the file is there, and the worker's log says what became of the copy.
    """
    return TaskReport(Status.DONE if is_final(report) else report.status)


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """The addresses that a worker knows: its own, and cfm's."""

    own: Addr
    cfm: Addr
    more_cfm: tuple[Addr, ...] = ()
    """Where there are several cfm, the others."""

    @property
    def every_cfm(self) -> tuple[Addr, ...]:
        return (self.cfm, *self.more_cfm)

    @property
    def on_loopback(self) -> bool:
        """Does this node use the loopback addresses of one machine (a demo, a test)?"""
        return any(is_loopback(host_of(addr)) for addr in (self.own, *self.every_cfm))


def is_loopback(host: str) -> bool:
    """Does the host part of an address mean this very machine?"""
    if host.lower().rstrip(".") == "localhost":
        return True
    ip = _ip(host)
    return ip is not None and _plain(ip).is_loopback


def objection(offer: TaskOffer, here: Neighbourhood) -> str | None:
    """Why this worker must not begin with the offer; None where it may."""
    if not is_file_name(offer.file_name):
        return "the file name is not a single plain path component"
    if offer.size_bytes == 0:
        return "the file has 0 bytes"
    return source_objection(offer.source, here) or path_objection(offer.path, offer.file_name)


def source_objection(source: str, here: Neighbourhood) -> str | None:
    """Why `source` cannot be a worker; None where it may be one."""
    match = _ADDRESS.fullmatch(source)
    if match is None:
        return "the source is not written as HOST:PORT"
    port = int(match["port"])
    if not 0 < port < 2**16:
        return "no worker listens on the source's port"
    if source in here.every_cfm:
        return "the source is the cfm"
    host = match["host"].strip("[]")
    if port < _SYSTEM_PORTS_END and is_loopback(host):
        return "other programs of this machine listen on the source's port"
    return _host_objection(host, here)


def _host_objection(host: str, here: Neighbourhood) -> str | None:
    ip = _ip(host)
    if ip is not None:
        return ip_objection(ip, loopback_ok=here.on_loopback)
    if _HOST_NAME.fullmatch(host) is None or _NUMBER_LABEL.fullmatch(host.rpartition(".")[2]):
        return "the source's host is neither an ip address nor a host name"
    if is_loopback(host) and not here.on_loopback:
        return "the source is on the loopback"
    return None


def ip_objection(ip: IpAddress, *, loopback_ok: bool) -> str | None:
    """Why no worker can be at `ip`.  It stands in the offer, or is what a name in the offer resolves to."""
    ip = _plain(ip)
    if ip.is_loopback:
        return None if loopback_ok else "the source is on the loopback"
    if ip.is_link_local or ip.is_multicast or ip.is_unspecified or ip.is_reserved:
        return "no server can have the source's address"
    return None


def path_objection(path: str, file_name: str) -> str | None:
    """Why `path` must not stand in a downloader's command line; None where it may."""
    parts = path.split("/")
    if not path.startswith("/") or parts[-1] != file_name or ".." in parts:
        return "the source path is not an absolute path to the file"
    if not path.isprintable() or len(path.encode("utf-8", "surrogatepass")) > MAX_PATH_BYTES:
        return "the source path is too long, or has characters that no path of a video file has"
    return None


def _ip(host: str) -> IpAddress | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _plain(ip: IpAddress) -> IpAddress:
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return mapped or ip


def first_ready(tasks: Iterable[TaskOffer], own: Addr, holding: frozenset[int]) -> TaskOffer | None:
    """The first ready task on the old list that is for us, and that we do not hold already."""
    for task in tasks:
        if task.status is Status.READY and task.destination == own and task.id not in holding:
            return task
    return None
