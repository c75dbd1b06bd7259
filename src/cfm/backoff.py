"""Back-off: a pause before the next attempt that grows with each failure.  Pure.

Neighbours: the books of failed copies, of deletes that a server did not carry out, and of a worker's
questions to cfm each say how long their first and their longest pause are.
"""

from __future__ import annotations

from dataclasses import dataclass

_GROWS_AT_MOST = 20
"""How many times a pause grows: by then every back-off has reached its longest pause."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses that begin with `first_ms` and grow by `factor` up to `longest_ms`."""

    first_ms: int
    longest_ms: int
    factor: int = 2

    def pause_ms(self, failures: int) -> int:
        """The pause after so many failures in a row, the last one included (at least one)."""
        grown_ms: int = self.first_ms * self.factor ** min(failures - 1, _GROWS_AT_MOST)
        return min(self.longest_ms, grown_ms)
