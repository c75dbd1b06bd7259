"""A page as a tree of parts: what changed since it was shown last can be sent alone.

A part is one element with an id.  It holds finished markup and other parts.  Two trees of one page are
compared from the top: where the markup between the parts is the same, only the parts within are compared.
So a row of a table goes out alone, and a table whose rows are others goes out whole.  Pure.  Neighbours:
`html` makes the markup, `serve.live` sends what changed, `static/live.js` puts it in its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from cfm.controller.serve.html import Attrs, Html, opening, render

Content: TypeAlias = "str | int | Part | Iterable[Content] | None"


@dataclass(frozen=True, slots=True)
class Part:
    """One element with an id."""

    id: str
    pieces: tuple[Html | Part, ...]

    def html(self) -> Html:
        return Html("".join(self.texts()))

    def texts(self) -> Iterator[str]:
        """Its markup in pieces."""
        for piece in self.pieces:
            if isinstance(piece, Part):
                yield from piece.texts()
            else:
                yield piece

    def changes(self, before: Part) -> dict[str, Html]:
        """The parts, by id, that are not as they were: the smallest ones that will do."""
        if self is before or self.pieces == before.pieces:
            return {}
        if self._shape() != before._shape():
            return {self.id: self.html()}
        found: dict[str, Html] = {}
        for piece, old in zip(self.pieces, before.pieces, strict=True):
            if isinstance(piece, Part) and isinstance(old, Part):
                found.update(piece.changes(old))
        return found

    def _shape(self) -> list[str]:
        return [f"\0{piece.id}" if isinstance(piece, Part) else piece for piece in self.pieces]


def part(name: str, id_: str, *children: Content, attrs: Attrs | None = None, cls: str = "") -> Part:
    """An element with this id.  Ids are ours: never made of what comes from outside."""
    pieces: list[Html | Part] = [opening(name, {"id": id_, **(attrs or {})}, cls)]
    for piece in _flat((*children, Html(f"</{name}>"))):
        if isinstance(piece, Part) or isinstance(pieces[-1], Part):
            pieces.append(piece)
        else:
            pieces[-1] = Html(pieces[-1] + piece)
    return Part(id_, tuple(pieces))


def _flat(content: Content) -> Iterator[Html | Part]:
    """Finished markup and parts, one after the other."""
    if isinstance(content, Part):
        yield content
    elif content is None or isinstance(content, str | int):
        yield render(content)
    else:
        for one in content:
            yield from _flat(one)
