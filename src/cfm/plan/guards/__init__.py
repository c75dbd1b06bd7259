"""The guards: every safety rule, each a few lines that say no with a named reason.

A guard looks at one `Case` and returns a `Refusal`, or None where it has nothing against the wish.  It
changes nothing.  Neighbour: `kernel` is the table of all guards.
"""
