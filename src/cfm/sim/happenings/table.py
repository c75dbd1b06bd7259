"""The faults that happen by themselves, by name: the rows of `sim.faults` that are of the form *event*.

Each is a function of the world and a stream of luck; what it breaks it also mends, later, or when the faults
stop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from cfm.sim.happenings import connections, inputs, machines, people, storage
from cfm.sim.rng import Rng

if TYPE_CHECKING:
    from cfm.sim.world import World

FAULTS: Final[Mapping[str, Callable[[World, Rng], None]]] = {
    fault.__name__: fault
    for faults in (machines.FAULTS, connections.FAULTS, storage.FAULTS, inputs.FAULTS, people.FAULTS)
    for fault in faults
}
