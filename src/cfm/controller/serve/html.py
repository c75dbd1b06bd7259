"""HTML that cannot be forged: an element is made of text, which is escaped, and of other elements.

A file name is whatever somebody once called a file.  Here a plain `str` is always text, and only what
`tag` made is markup, so that forgetting to escape is not possible.  Neighbour: `pages`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from html import escape
from typing import TypeAlias

from cfm.logs import escaped

TEXTS_KEPT = 8192
"""A page that is made again has nearly the same texts as before."""
VOID_TAGS = frozenset({"br", "input", "link", "meta", "wbr"})


class Html(str):
    """Finished markup."""

    __slots__ = ()


Child: TypeAlias = "str | int | Iterable[Child] | None"
Attrs: TypeAlias = Mapping[str, "str | int | None"]


@lru_cache(TEXTS_KEPT, typed=True)
def text(value: str | int) -> Html:
    """Text as markup: escaped for HTML, and what cannot be printed written as an escape."""
    return Html(escape(escaped(str(value))))


def render(child: Child) -> Html:
    """One child: markup as it is, text escaped, None as nothing, several one after the other."""
    if child is None:
        return Html("")
    if isinstance(child, Html):
        return child
    if isinstance(child, str | int):
        return text(child)
    return Html("".join(map(render, child)))


def tag(name: str, *children: Child, attrs: Attrs | None = None, cls: str = "") -> Html:
    """An element.  Attributes are escaped as text is."""
    start = opening(name, attrs, cls)
    return start if name in VOID_TAGS else Html(f"{start}{render(children)}</{name}>")


def opening(name: str, attrs: Attrs | None = None, cls: str = "") -> Html:
    """The tag with which an element begins.  An attribute that is None is left out."""
    given = {**({"class": cls} if cls else {}), **(attrs or {})}
    pairs = (f' {key}="{text(value)}"' for key, value in given.items() if value is not None)
    return Html(f"<{name}{''.join(pairs)}>")
