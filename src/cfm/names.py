"""What may be a file's name: one predicate for every place where a name comes from outside.

Metadata, event logs, file lists, tasks and request paths all pass their names through `is_file_name`
before anything is done with them.  A name that passes is a single component that cannot leave its
folder, hide in it, or change how a log line or a terminal shows it.  Spaces, `%`, `#`, `?` and letters
of any script are fine: they are names, however they have to be quoted on the wire.

The same rule exists as a regular expression (`FORBIDDEN`), in syntax that both `re` and Polars read, so
that ten million names are checked by the same law as one.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final, Literal

MAX_NAME_BYTES = 255
"""What Linux file systems store at most."""

FORBIDDEN = (
    r"["
    r"\x00-\x1f\x7f-\x9f"  # control characters, U+0085 (next line) among them
    r"/\\"  # separators, here or on the machine of whoever made the name
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidi controls: a name would read differently
    r"\u2028\u2029"  # line and paragraph separators
    r"\ufeff\ufffd"  # byte order mark; the trace of bytes that were not UTF-8
    r"]"
)
"""Characters that no name contains, as a character class."""

_forbidden = re.compile(FORBIDDEN)


def is_file_name(name: str) -> bool:
    """Is `name` a single, visible, printable path component of at most 255 bytes of UTF-8?"""
    if not name or name.startswith(".") or len(name) > MAX_NAME_BYTES or _forbidden.search(name):
        return False
    try:
        return len(name.encode()) <= MAX_NAME_BYTES
    except UnicodeEncodeError:  # a lone surrogate: bytes of a folder listing that are not UTF-8
        return False


_FORMS: Final[tuple[Literal["NFC", "NFD"], ...]] = ("NFC", "NFD")


def other_spellings(name: str) -> tuple[str, ...]:
    """Names that look the same as this one, and are others: Unicode has two forms for many letters.

    Names are compared byte by byte everywhere.  Macs and some transfer programs change the form of a name.
    """
    spelled = dict.fromkeys(unicodedata.normalize(form, name) for form in _FORMS)
    return tuple(other for other in spelled if other != name)
