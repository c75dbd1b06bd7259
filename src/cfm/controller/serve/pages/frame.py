"""The frame of every page: head, navigation, search, and how sections and tables are built."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final, TypeAlias

import xxhash

from cfm import __version__
from cfm.controller.serve.html import Child, Html, tag
from cfm.controller.serve.pages.parts import Content, Part, part

Json: TypeAlias = Mapping[str, Any]

REFRESH_S: Final = 10
"""How often a browser without scripts loads a page again."""
NAVIGATION: Final = (
    ("/", "Overview"),
    ("/servers", "Servers"),
    ("/backlog", "Backlog"),
    ("/deletes", "Deletes"),
    ("/history", "History"),
    ("/settings", "Settings"),
)
STATIC_TYPES: Final = {
    "style.css": "text/css",
    "live.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}


@cache
def static(name: str) -> bytes:
    """A file that pages load from us."""
    return files("cfm.controller").joinpath("static", name).read_bytes()


@dataclass(frozen=True, slots=True)
class Page:
    """What is on a page, without its frame."""

    title: str
    current: str
    """The path in the navigation under which it is found."""
    body: Part
    asked: str = ""
    """What was searched for."""


def page(title: str, current: str, *content: Content, asked: str = "") -> Page:
    return Page(title, current, part("main", "main", *content), asked)


def document(shown: Page, now: str, *, live: bool = True) -> str:
    """The whole page; `now` is the time for which it is true.  `live`: it follows what goes on."""
    html = shown.body.html()
    watch = {"data-live": digest(html), "data-version": __version__} if live else {}
    body = tag("body", _header(shown, now, live=live), html, attrs=watch)
    return "<!doctype html>\n" + tag("html", _head(shown, live=live), body, attrs={"lang": "en"}) + "\n"


def digest(html: str) -> str:
    """By this a browser says which state of a page it shows."""
    return xxhash.xxh3_64_hexdigest(html.encode())


def _head(shown: Page, *, live: bool) -> Html:
    refresh = tag("meta", attrs={"http-equiv": "refresh", "content": REFRESH_S})
    return tag(
        "head",
        tag("meta", attrs={"charset": "utf-8"}),
        tag("meta", attrs={"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        tag("meta", attrs={"name": "color-scheme", "content": "light dark"}),
        tag("title", f"{shown.title} · cfm"),
        tag("link", attrs={"rel": "icon", "href": "/static/icon.svg", "type": "image/svg+xml"}),
        tag("link", attrs={"rel": "stylesheet", "href": "/static/style.css"}),
        [tag("script", attrs={"src": "/static/live.js", "defer": ""}), tag("noscript", refresh)]
        if live
        else None,
    )


def _header(shown: Page, now: str, *, live: bool) -> Html:
    links = [
        tag("a", name, attrs={"href": path, "aria-current": "page" if path == shown.current else None})
        for path, name in NAVIGATION
    ]
    box: dict[str, str | int | None] = {
        "id": "search",
        "type": "search",
        "name": "q",
        "value": shown.asked,
        "placeholder": "File or server",
        "aria-label": "Search for a file or a server",
        "maxlength": 255,
        "autocomplete": "off",
        "spellcheck": "false",
    }
    search = tag(
        "form", tag("input", attrs=box), attrs={"action": "/search", "method": "get", "role": "search"}
    )
    clock = tag("p", tag("span", now, attrs={"id": "now"}), attrs={"id": "live"}, cls="quiet")
    return tag(
        "header",
        tag("a", "Skip to content", attrs={"href": "#main"}, cls="skip"),
        tag("a", "cfm", attrs={"href": "/"}, cls="brand"),
        tag("nav", links, attrs={"aria-label": "Pages"}),
        search,
        clock if live else None,
        tag("p", attrs={"id": "said", "role": "status"}, cls="hidden") if live else None,
    )


# ── sections and tables ─────────────────────────────────────────────────────────────────────────────────


def heading(text: str, *more: Child, hidden: bool = False) -> Html:
    """The first heading of a page."""
    return tag("h1", text, more, cls="hidden" if hidden else "")


def section(id_: str, title: str, *content: Content, note: Child = None, cls: str = "") -> Part:
    name = f"{id_}-title"
    head = tag("h2", title, attrs={"id": name})
    said = tag("p", note, cls="note quiet") if note is not None else None
    return part("section", id_, head, said, *content, attrs={"aria-labelledby": name}, cls=cls)


def columns(id_: str, *content: Content) -> Part:
    """Sections side by side where there is room."""
    return part("div", id_, *content, cls="columns")


def table(
    id_: str, titles: Sequence[str], rows: Iterable[tuple[str, Sequence[Child]]], *, empty: str
) -> Part | Html:
    """A table, or the text `empty` where it has no rows.

    A row is its key, which tells it from the others and never comes from outside, and its cells.  A column
    whose title has a `#` at its end holds numbers; one with a `~` is left out where the page is narrow, one
    with a `*` where no row has anything in it; the cells of one with a `!` change often, and go out alone.
    """
    rows = list(rows)
    kept = [
        place
        for place, title in enumerate(titles)
        if "*" not in _signs(title) or not all(_is_empty(row[place]) for _key, row in rows)
    ]
    titles = [titles[place] for place in kept]
    rows = [(key, [row[place] for place in kept]) for key, row in rows]
    classes = [_class_of(title) for title in titles]
    moving = [place for place, title in enumerate(titles) if "!" in _signs(title)]
    lines = [
        part(
            "tr",
            f"{id_}-{key}",
            [
                part("td", f"{id_}-{key}-{place}", cell, cls=cls)
                if place in moving
                else tag("td", cell, cls=cls)
                for place, (cell, cls) in enumerate(zip(row, classes, strict=True))
            ],
        )
        for key, row in rows
    ]
    if not lines:
        return tag("p", empty, cls="quiet")
    heads = [
        tag("th", title.rstrip(_SIGNS), cls=cls, attrs={"scope": "col"})
        for title, cls in zip(titles, classes, strict=True)
    ]
    shown = part("tbody", f"{id_}-rows", lines)
    inner = part("table", f"{id_}-table", tag("thead", tag("tr", heads)), shown)
    return part("div", f"{id_}-wide", inner, cls="wide", attrs={"tabindex": 0})


def _is_empty(cell: Child) -> bool:
    if cell is None or isinstance(cell, str):
        return not cell
    return isinstance(cell, (list, tuple)) and all(map(_is_empty, cell))


def _class_of(title: str) -> str:
    signs = _signs(title)
    return " ".join(cls for sign, cls in (("#", "number"), ("~", "spare")) if sign in signs)


_SIGNS: Final = "#~!*"


def _signs(title: str) -> str:
    return title[len(title.rstrip(_SIGNS)) :]


def facts(id_: str, pairs: Iterable[tuple[str, Child]], cls: str = "facts") -> Part:
    """Names and values."""
    lines = [tag("div", tag("dt", name), tag("dd", value)) for name, value in pairs]
    return part("dl", id_, lines, cls=cls)


def pager(path: str, first: int, shown: int, total: int, size: int, more: str = "") -> Html | None:
    """Links to the rows before and after these; `more`: what else the address asks for."""
    if total <= size:
        return None
    before, after = max(0, first - size), first + size
    words = f"{first + 1:,} to {first + shown:,} of {total:,}" if shown else f"none of {total:,} from here"
    return tag(
        "nav",
        tag("a", "Before", attrs={"href": f"{path}?from={before}{more}", "rel": "prev"}) if first else None,
        tag("span", words),
        tag("a", "After", attrs={"href": f"{path}?from={after}{more}", "rel": "next"})
        if after < total
        else None,
        attrs={"aria-label": "Rows"},
        cls="pager",
    )
