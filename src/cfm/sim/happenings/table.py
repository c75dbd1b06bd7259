"""The faults that happen by themselves, by name: the rows of `sim.faults` that are of the form *event*.

Each is a function of the world and a stream of luck; what it breaks it also mends, later, or when the faults
stop.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cfm.sim.happenings import connections, inputs, machines, people, storage
from cfm.sim.happenings.luck import Happening

FAULTS: Final[Mapping[str, Happening]] = {
    fault.__name__: fault
    for faults in (machines.FAULTS, connections.FAULTS, storage.FAULTS, inputs.FAULTS, people.FAULTS)
    for fault in faults
}
