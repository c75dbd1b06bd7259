"""The faults that happen by themselves, by name: the rows of form *event* in `environment.faults`.

Each is a function of the world and a stream of luck.  It also mends what it breaks: later, or at the latest
when the faults stop.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cfm_lab.sim.fault_events import connections, inputs, machines, people, storage
from cfm_lab.sim.fault_events.luck import FaultEvent

FAULTS: Final[Mapping[str, FaultEvent]] = {
    fault.__name__: fault
    for faults in (machines.FAULTS, connections.FAULTS, storage.FAULTS, inputs.FAULTS, people.FAULTS)
    for fault in faults
}
