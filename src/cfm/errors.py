"""The few errors that cross a module's border; each tells who must act.

`SettingsError` is for the person who edits a file, `StateError` for the one who runs the daemon,
`RemoteError` for the other side of a connection.  What cannot be known is not an error: it is
`Unknown` (see `model`).
"""

from __future__ import annotations


class CfmError(Exception):
    """Base of all errors of ours; its text is a sentence for people."""

    exit_code = 1


class SettingsError(CfmError):
    """The form of a settings file is wrong; the text names file, line, key and remedy."""

    exit_code = 2


class StateError(CfmError):
    """Our own state cannot be used: held by another process, on a network disk, or damaged."""


class StoreFullError(StateError):
    """A commit failed because the disk under our own state is full or cannot be written."""


class RemoteError(CfmError):
    """The other side answered in a way that the protocol does not allow."""
