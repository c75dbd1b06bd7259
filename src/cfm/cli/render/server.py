"""`cfm server SERVER` and `cfm unique SERVER`: one server, what it copies, and what it holds, by rank."""

from __future__ import annotations

from rich.console import RenderableType
from rich.text import Text

from cfm.cli.render import page
from cfm.cli.render.page import Json, Sized, said, stack, with_rest
from cfm.cli.render.servers import servers
from cfm.cli.render.status import transfers
from cfm.controller.explain.words import count_words, size_words


def server_view(found: Json) -> RenderableType:
    """The server's line as in the status, its transfers, and its files, the most wanted first."""

    def view(width: int) -> RenderableType:
        return stack(servers([found], width), transfers(found["transfers"], width), _files(found, width))

    return Sized(view)


def unique_view(found: Json) -> RenderableType:
    """The files that the node would miss without this server."""

    def view(width: int) -> RenderableType:
        files = found["files_by_rank"]
        if "destination" not in found["role"]:
            return said(f"{found['addr']} is only a source: cfm does not ask what it holds", "dim")
        if not found["listed"]:
            return _never_listed(found)
        words = count_words(files["total"], "file is", "files are")
        title = f"{words} on {found['addr']} alone, {size_words(files['known_bytes'])}{_old(found)}"
        return stack(said(title, "bold"), _table(found, width, alone=True) if files["rows"] else None)

    return Sized(view)


def _files(found: Json, width: int) -> RenderableType | None:
    files = found["files_by_rank"]
    if "destination" not in found["role"]:
        return None  # cfm does not ask a source what it holds
    if not found["listed"]:
        return _never_listed(found)
    unknown = files["total"] - files["known"]
    words = count_words(files["total"], "file", "files")
    strange = f", {unknown:,} of them not known to the metadata" if unknown else ""
    title = f"{words}, {size_words(files['known_bytes'])}{strange}{_old(found)}"
    return stack(said(title, "bold"), _table(found, width) if files["rows"] else None)


def _never_listed(found: Json) -> Text:
    return said(f"what {found['addr']} holds is not known: its list was never read", "yellow")


def _old(found: Json) -> str:
    return ", by its last list: the present one is unknown" if found["list_is_old"] else ""


def _table(found: Json, width: int, *, alone: bool = False) -> RenderableType:
    """`alone`: all of them are on no other server, and that is told already."""
    table = page.table(width)
    table.add_column("rank", justify="right", no_wrap=True)
    page.name_column(table, (row["file"] for row in found["files_by_rank"]["rows"]), width)
    table.add_column("hits", justify="right", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("", ratio=1, overflow="fold")
    files = found["files_by_rank"]
    for row in files["rows"]:
        others = [addr for addr in row["on"] if addr != found["addr"]]
        table.add_row(
            "–" if row["rank"] is None else f"{row['rank']:,}",
            said(row["file"]),
            "" if row["hits"] is None else f"{row['hits']:,}",
            "?" if row["size_bytes"] is None else size_words(row["size_bytes"]),
            _remarks({**row, "unique": row["unique"] and not alone}, others),
        )
    return with_rest(table, files["total"] - files["offset"] - len(files["rows"]), page.MORE_ROWS)


def _remarks(row: Json, others: list[str]) -> Text:
    remarks = ["only here"] if row["unique"] else [f"also on {', '.join(others)}"] if others else []
    remarks += ["stale"] if row["stale"] else []
    return said(", ".join(remarks), "yellow" if row["stale"] else "dim")
