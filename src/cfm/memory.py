"""Gives memory that is free back to the kernel, as cfm needs much of it for a moment only.

To read a million files takes some 200 MB more than they take afterwards, in pieces of megabytes.  The C
library keeps such pieces for the next ones, for each thread, and so does the allocator that Polars brings.
With 1,000,000 files on 300 servers the peak was 590 to 650 MB, and 400 MB stayed; like this they are 460 to
530 MB, and 335 MB.
Neighbour: `cli.entry` calls this before anything large is loaded.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from typing import Final

LARGE_BYTES: Final = 2**20
"""Blocks from this size on come from the kernel, and go back to it at once."""
_ARENAS: Final = 2
"""The C library has so many heaps for all threads, instead of eight for each processor."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""As in glibc's `malloc.h`."""
_OF_POLARS: Final = "dirty_decay_ms:100,muzzy_decay_ms:0"
"""It gives back after a tenth of a second what is free.  By default it leaves that to the kernel's need."""


def give_back_free_memory() -> None:
    """Must be called before Polars is imported.  Where the C library is another one, it stays as it is."""
    os.environ.setdefault("_RJEM_MALLOC_CONF", _OF_POLARS)
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in (
            (_TRIM_THRESHOLD, LARGE_BYTES),
            (_MMAP_THRESHOLD, LARGE_BYTES),
            (_ARENA_MAX, _ARENAS),
        ):
            mallopt(option, value)
