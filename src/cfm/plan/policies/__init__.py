"""The policies: what would be good to copy, to trim, to evict; one file for each.

A policy is a generator over an `Outlook`.  It yields wishes and hears what became of each (`wishes`).  It
knows no guard and books nothing, so it cannot do harm: the `judge` asks the kernel about every wish.  A new
policy is one new file here, and one row in the table below.
"""

from __future__ import annotations

from cfm.plan.outlook import Policy
from cfm.plan.policies.copies import copies
from cfm.plan.policies.evictions import evictions
from cfm.plan.policies.room import room
from cfm.plan.policies.trials import trials
from cfm.plan.policies.trims import trims

POLICIES: tuple[Policy, ...] = (copies, room, trials, trims, evictions)
"""In the order in which they wish.  A later one sees what the earlier ones were granted:

- `copies` comes first, because sources must not rest while there is something to copy.
- `room` comes next: it needs to know which files found no room, and takes sources that began with a smaller
  file into account.
- `trials` come after `room`: they risk a source, and take only what is left.
- `trims` comes before `evictions`: a surplus copy that goes makes room, so that fewer unique files must go.
"""
