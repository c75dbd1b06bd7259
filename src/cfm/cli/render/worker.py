"""`cfw status`: one worker as it sees itself."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from cfm.cli.render.page import Json, said
from cfm.cli.render.words import time_words
from cfm.controller.explain.words import count_words, size_words


def worker_view(found: Json) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for name, fact in _facts(found):
        table.add_row(Text(name, style="dim"), said(fact))
    return table


def _facts(found: Json) -> Iterator[tuple[str, str]]:
    streams = found["streams"]
    yield "worker", f"{found['name']}, version {found['version']}, up for {time_words(found['up_s'])}"
    yield "health", found["status"]
    if found["controller"] is None:
        yield "obeys", "nobody yet: it belongs to the first cfm that it hears of"
    else:
        yield "obeys", f"the controller {found['controller']}, epoch {found['epoch']}"
    sending = streams["controlled"] + streams["uncontrolled"]
    yield "receiving", count_words(found["receiving"], "copy", "copies")
    yield "sending", f"{count_words(sending, 'copy', 'copies')}; {streams['slots']} at a time"
    if (disk := found["disk"]) is None:
        yield "disk", f"unknown: {found['disk_why']}"
    else:
        used, total = (size_words(int(disk[key])) for key in ("used_size", "total_size"))
        yield "disk", f"{used} of {total} used, {disk['used_percent']} %"
