"""How often the books of one node have changed, counted by the books themselves.

Every book (the tasks, the orders, the records of the servers, …) adds to these counters in its own methods.
The controller's core remembers what it has seen of them, and so it knows by itself what must be decided anew:
nobody has to tell it, and nobody can forget to.  The books of one node share one `Revision`.

A book does not count a change that can make nothing possible, such as a task that begins.  So a node at rest,
and an answer that says what was known already, cost no decision.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Revision:
    """The counters, by what must be decided anew.  They only grow."""

    dispatch: int = 0
    """Something may be possible now that was not: all policies are asked."""
    orders: int = 0
    """A delete order may be ready to be sent, or may have to be dropped.  Nothing else has changed."""
    plan: int = 0
    """The ordered lists of the backlog may come out differently."""
