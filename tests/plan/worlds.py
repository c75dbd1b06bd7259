"""Small worlds for the kernel and the policies: one where everything is allowed, and ways to spoil it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from cfm.model import (
    Addr,
    DeleteKind,
    DeleteOrder,
    DiskUsage,
    File,
    Known,
    Now,
    OnSan,
    OrderStatus,
    SanCheck,
    ServerView,
    SnapshotFacts,
    Status,
    Task,
    Transfer,
    WorkerFeatures,
)
from cfm.plan.shortlist import Shortlist
from cfm.plan.view import ClusterView, Rules

NOW = Now(100_000_000, 1_700_000_000_000)
SOURCE, SOURCE_2 = Addr("127.0.1.1:8888"), Addr("127.0.1.2:8888")
LOWER = Addr("127.0.2.0:8888")
"""An address below all others: where one disk has two, it is used through this one."""
DISK_A, DISK_B, DISK_C = Addr("127.0.2.1:8888"), Addr("127.0.2.2:8888"), Addr("127.0.2.3:8888")
OURS = WorkerFeatures(ours=True, transfer=Transfer.BUILTIN, serves=True, downloads=4)
NEW = File("NEW.mpg", 5, 100)
HELD = File("HELD.mpg", 900, 100)
TWICE = File("TWICE.mpg", 50, 100)


def server(addr: Addr, files: Iterable[str] = (), used_bytes: int = 500, **more: Any) -> ServerView:
    """A server of ours that is up and known; a destination where its address says so."""
    names = frozenset(files)
    fields: dict[str, Any] = {
        "addr": addr,
        "is_source": addr.startswith("127.0.1."),
        "is_destination": addr.startswith("127.0.2."),
        "up": True,
        "features": OURS,
        "files": Known(names, NOW.mono_ms - 1000),
        "disk": Known(DiskUsage(1000, used_bytes, 1000 - used_bytes), NOW.mono_ms - 1000),
        "limit_percent": 90,
        "last_list": names,
        "san": SanCheck(".cfw-probe-1", ruled_out={"/san": NOW.mono_ms - 1000}),
    }
    return ServerView(**{**fields, **more})


def world(servers: Iterable[ServerView] = (), **more: Any) -> ClusterView:
    """A world in which NEW may be copied, HELD may go for room and TWICE may be trimmed."""
    everyone = {
        s.addr: s
        for s in (
            server(SOURCE),
            server(SOURCE_2),
            server(DISK_A, {HELD.name, TWICE.name}, used_bytes=950),
            server(DISK_B, {TWICE.name}),
            *servers,
        )
    }
    holders: dict[str, frozenset[Addr]] = {}
    for view in everyone.values():
        for name in view.files.value if isinstance(view.files, Known) else ():
            holders[name] = holders.get(name, frozenset()) | {view.addr}
    fields: dict[str, Any] = {
        "now": NOW,
        "rules": Rules(),
        "snapshot": SnapshotFacts("s", NOW.wall_s - 60, 3, 3),
        "metadata_age_ms": 60_000,
        "servers": everyone,
        "holders": holders,
        "san": {file.name: on_san(file) for file in (NEW, HELD, TWICE)},
    }
    return ClusterView(**{**fields, **more})


def on_san(file: File, age_ms: int = 0) -> Known[Any]:
    return Known(OnSan(f"/san/{file.name}", file.size_bytes), NOW.mono_ms - age_ms)


def with_server(view: ClusterView, addr: Addr, **changes: Any) -> ClusterView:
    servers = {**view.servers, addr: view.servers[addr]._replace(**changes)}
    return replace(view, servers=servers)


def task(file: File, status: Status = Status.WORKING, task_id: int = 1, **more: Any) -> Task:
    fields: dict[str, Any] = {
        "id": task_id,
        "status": status,
        "created_s": 0,
        "changed_s": 0,
        "file": file,
        "path": f"/san/{file.name}",
        "source": SOURCE,
        "destination": DISK_B,
        "copy_speed_bps": 1,
        "reason": "",
    }
    return Task(**{**fields, **more})


def order(
    file: File, server_: Addr = DISK_A, kind: DeleteKind = DeleteKind.SPACE, order_id: int = 1
) -> DeleteOrder:
    return DeleteOrder(order_id, OrderStatus.SENT, 0, 0, file, server_, kind, "")


def shortlist(
    wanted: Iterable[File] = (),
    surplus: Iterable[File] = (),
    evictable: Mapping[Addr, tuple[File, ...]] | None = None,
) -> Shortlist:
    wanted, surplus = tuple(wanted), tuple(surplus)
    return Shortlist("s", wanted, len(wanted), surplus, len(surplus), evictable or {}, cut=False)
