"""The tables of the pages: disks, servers, copies, deletes, tasks, rising files, the backlog."""

from __future__ import annotations

from collections.abc import Sequence

from cfm.controller.serve.html import Html, tag
from cfm.controller.serve.pages import cells
from cfm.controller.serve.pages.frame import Json, table


def disks(servers: Sequence[Json]) -> Html:
    rows = [
        (
            server["addr"],
            cells.state(server),
            cells.disk_bar(server),
            cells.percent(server["used_percent"]),
            cells.percent(server["limit_percent"]),
            cells.size(server["total_bytes"]),
            cells.count(server["files"]),
            server["receiving"],
        )
        for server in servers
        if "destination" in server["role"]
    ]
    columns = ("Destination", "State", "Disk", "Used#", "Limit#", "Size#", "Files#", "Receiving#")
    return table(columns, rows, empty="cfm.yml names no destination.")


def servers(all_: Sequence[Json]) -> Html:
    rows = [
        (
            server["addr"],
            ", ".join(server["role"]),
            cells.state(server),
            f"cfw {server['version']}" if server["ours"] else "old cfw" if server["state"] == "up" else "",
            server["transfer"] if "destination" in server["role"] else "",
            server["sending"] if "source" in server["role"] else "",
            server["receiving"] if "destination" in server["role"] else "",
            server["why"],
        )
        for server in all_
    ]
    columns = ("Server", "Role", "State", "Program", "Transfer", "Sending#", "Receiving#", "Why")
    return table(columns, rows, empty="cfm.yml names no server.")


def transfers(all_: Sequence[Json]) -> Html:
    rows = [
        (
            cells.name(transfer["file"]),
            f"{transfer['rank']:,}",
            transfer["source"],
            transfer["destination"],
            cells.progress(transfer),
            cells.size(transfer["size_bytes"]),
            cells.rate(transfer["rate_bps"]),
            transfer["reason"],
        )
        for transfer in all_
    ]
    columns = ("File", "Rank#", "From", "To", "Progress", "Size#", "Rate#", "Why")
    return table(columns, rows, empty="No copy is running.")


def deletes(all_: Sequence[Json]) -> Html:
    rows = [(cells.name(d["file"]), d["server"], d["kind"], d["status"], d["reason"]) for d in all_]
    return table(("File", "Server", "Kind", "Status", "Why"), rows, empty="No delete is running.")


def tasks(all_: Sequence[Json]) -> Html:
    """The newest first."""
    rows = [
        (
            tag("code", task["id"]),
            cells.time_of_day(task["ctime"]),
            tag("span", task["status"], cls=f"task {task['status']}"),
            cells.name(task["file_name"]),
            f"{task['grade']:,}",
            task["src_addr"],
            task["dst_addr"],
        )
        for task in reversed(all_)
    ]
    columns = ("Id", "Made", "Status", "File", "Rank#", "From", "To")
    return table(columns, rows, empty="There was no task in the last ten minutes.")


def rising(all_: Sequence[Json]) -> Html:
    rows = [(cells.name(file["file"]), f"{file['hits']:,}", f"{file['rank']:,}") for file in all_]
    return table(("File", "Hits in the window#", "Rank#"), rows, empty="No file is rising.")


def backlog(all_: Sequence[Json]) -> Html:
    rows = [
        (
            f"{file['rank']:,}",
            cells.name(file["file"]),
            cells.size(file["size_bytes"]),
            f"{file['hits']:,}",
            ", ".join(file["on"]),
        )
        for file in all_
    ]
    columns = ("Rank#", "File", "Size#", "Hits#", "On")
    return table(columns, rows, empty="Every wanted file is on a destination.")
