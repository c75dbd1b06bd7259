"""The file name in a raw request path, decoded exactly once.

Routers decode paths for convenience, and a path that is decoded twice, or split after it was decoded,
names another file than its sender meant.  The endpoints that act on one file (`/files/{name}`,
`/content/{name}`) are therefore routed with `/files/{tail:.*}` and read their name here.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from aiohttp import web

from cfm.names import is_file_name
from cfm.web.answers import RefusedError

_STRAY_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


def name_from_path(request: web.Request, prefix: str, *, query_allowed: bool = False) -> str:
    """The file name after `prefix` (`/files/`).

    Raises:
        RefusedError: 400, for what is not one plain path component, and for a query where none belongs.
    """
    try:
        return name_in(request.raw_path, prefix, query_allowed=query_allowed)
    except ValueError as error:
        raise RefusedError(400, str(error)) from None


def name_in(raw_path: str, prefix: str, *, query_allowed: bool = False) -> str:
    """As `name_from_path`, of the text of a request line; ValueError says what is wrong."""
    path, question_mark, _ = raw_path.partition("?")
    if question_mark and not query_allowed:
        raise ValueError("a query does not belong here")  # an old program's name, cut at its `?`
    if "#" in raw_path or not path.startswith(prefix):
        raise ValueError("not a path of this endpoint")
    name = _decoded_once(path.removeprefix(prefix))
    if not is_file_name(name):
        raise ValueError("not the name of a file")
    return name


def _decoded_once(part: str) -> str:
    """An earlier cfm sends names as they are: a `%` that begins no escape tells that nothing was encoded."""
    sent = part.encode("utf-8", "surrogateescape")
    octets = sent if _STRAY_PERCENT.search(part) else unquote_to_bytes(sent)
    return octets.decode("utf-8")  # a UnicodeDecodeError is a ValueError
