"""The file name in a raw request path, decoded exactly once.

Routers decode paths by themselves.  A path that is decoded twice, or that is split after decoding, may name
another file than the sender meant.  So the endpoints that act on one file (`/files/{name}`,
`/content/{name}`) use a route like `/files/{tail:.*}`, and read the name here.
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
        RefusedError: 400 where it is not a single plain path component, or where a query is not allowed.
    """
    try:
        return name_in(request.raw_path, prefix, query_allowed=query_allowed)
    except ValueError as error:
        raise RefusedError(400, str(error)) from None


def name_in(raw_path: str, prefix: str, *, query_allowed: bool = False) -> str:
    """As `name_from_path`, for the text of a request line; the ValueError says what is wrong."""
    path, question_mark, _ = raw_path.partition("?")
    if question_mark and not query_allowed:
        raise ValueError("a query is not allowed here")  # an old program may send a name that contains `?`
    if "#" in raw_path or not path.startswith(prefix):
        raise ValueError("this is not a path of this endpoint")
    name = _decoded_once(path.removeprefix(prefix))
    if not is_file_name(name):
        raise ValueError("this is not a valid file name")
    return name


def _decoded_once(part: str) -> str:
    """An earlier cfm sends names without encoding.  A `%` that begins no escape shows that it did so."""
    sent = part.encode("utf-8", "surrogateescape")
    octets = sent if _STRAY_PERCENT.search(part) else unquote_to_bytes(sent)
    return octets.decode("utf-8")  # a UnicodeDecodeError is a ValueError
