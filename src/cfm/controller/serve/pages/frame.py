"""What is around every page, and the two things that pages are made of: sections and tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any, Final, TypeAlias

from cfm.controller.serve.html import Child, Html, tag
from cfm.controller.serve.pages.cells import time_of_day

Json: TypeAlias = Mapping[str, Any]

STYLE: Final = files("cfm.controller").joinpath("style.css").read_text(encoding="utf-8")
REFRESH_S: Final = 2
PAGES: Final = (
    ("/", "Overview"),
    ("/dashboard", "Copies"),
    ("/dashboard/hb", "Servers"),
    ("/dashboard/filemetas", "Backlog"),
)


def page(path: str, status: Json | None, *content: Child) -> str:
    """The whole page at `path`; `status` says when its content was true."""
    title = dict(PAGES)[path]
    head = tag(
        "head",
        tag("meta", attrs={"charset": "utf-8"}),
        tag("meta", attrs={"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        tag("meta", attrs={"http-equiv": "refresh", "content": REFRESH_S}),
        tag("meta", attrs={"name": "color-scheme", "content": "light dark"}),
        tag("title", f"cfm: {title}"),
        tag("link", attrs={"rel": "stylesheet", "href": "/static/style.css"}),
    )
    links = [
        tag("a", name, attrs={"href": link, **({"aria-current": "page"} if link == path else {})})
        for link, name in PAGES
    ]
    header = tag("header", tag("strong", "cfm"), tag("nav", links), _as_of(status))
    body = tag("body", header, tag("main", content))
    return "<!doctype html>\n" + tag("html", head, body, attrs={"lang": "en"}) + "\n"


def _as_of(status: Json | None) -> Html | None:
    return tag("span", f"as of {time_of_day(status['at'])}", cls="quiet") if status else None


def section(title: str, *content: Child) -> Html:
    return tag("section", tag("h2", title), content)


def table(columns: Sequence[str], rows: Iterable[Sequence[Child]], *, empty: str) -> Html:
    """A table, or the text `empty` where it has no rows.  A column whose title ends in `#` holds numbers."""
    classes = ["number" if column.endswith("#") else "" for column in columns]
    lines = [
        tag("tr", [tag("td", cell, cls=cls) for cell, cls in zip(row, classes, strict=True)]) for row in rows
    ]
    if not lines:
        return tag("p", empty, cls="quiet")
    titles = [
        tag("th", column.rstrip("#"), cls=cls, attrs={"scope": "col"})
        for column, cls in zip(columns, classes, strict=True)
    ]
    shown = tag("table", tag("thead", tag("tr", titles)), tag("tbody", lines))
    return tag("div", shown, cls="wide")
