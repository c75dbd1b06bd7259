"""The few errors that leave the module in which they arise.  The type says who must act.

`SettingsError` is for the person who edits the settings file, `StateError` for the person who runs the
daemon.  Something that cannot be known is not an error: it is `Unknown` (see `model`).
"""

from __future__ import annotations


class CfmError(Exception):
    """Base of all our errors.  The text is a sentence for people."""

    exit_code = 1

    @property
    def brief(self) -> str:
        """The text as one line, for where there is little room."""
        return str(self)


class SettingsError(CfmError):
    """A settings file is wrong in its form.  The text names file, line, key and remedy."""

    exit_code = 2


class StateError(CfmError):
    """Our state file cannot be used: another process holds it, it is on a network disk, or it is damaged."""


class StoreFullError(StateError):
    """A commit failed because the disk with our state is full or cannot be written."""
