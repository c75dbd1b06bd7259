"""What all processes of one simulated node share: schedule, network, SAN, metadata files, trace and luck.

Neighbour: `cfm_lab.sim.world` adds the processes themselves, and what only an observer knows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from cfm.model import Addr, Hits, LogCondition, LogState
from cfm.wire import TaskOffer
from cfm_lab.sim.environment.faults import Swarm
from cfm_lab.sim.environment.metadata import MetadataFiles
from cfm_lab.sim.environment.network import Network
from cfm_lab.sim.environment.parts import Parts
from cfm_lab.sim.environment.profile import Profile
from cfm_lab.sim.environment.rng import Rng
from cfm_lab.sim.environment.san import San
from cfm_lab.sim.environment.schedule import Schedule
from cfm_lab.sim.environment.services import CfmService, DeleteRequest, WorkerService
from cfm_lab.sim.environment.sickness import Sick
from cfm_lab.sim.environment.trace import Trace


class Environment(ABC):
    """What a process of a simulated node can use, and whom it can reach."""

    def __init__(self, root: Rng, profile: Profile, parts: Parts) -> None:
        self.profile = profile
        self.parts = parts
        self.rng = root.fork("world")
        self.schedule = Schedule()
        self.trace = Trace(lambda: self.schedule.now_ms)
        self.swarm = Swarm(profile.faults, root.fork("swarm"), profile.intensity_percent)
        self.net = Network(self.schedule, self.swarm, root.fork("network"))
        self.san = San(lambda: self.schedule.now_ms)
        self.sick = Sick()
        self.metadata = MetadataFiles()
        self.hits = Hits()
        """What cfm reads in the event log at present."""
        self.log = LogState(LogCondition.FOLLOWING, 0)
        """What cfm is told of the event log at present."""
        self.cfm_addr = Addr("10.0.0.1:8080")
        self.publishing: TaskOffer | None = None
        """The task whose file a worker of ours is making visible at this moment."""
        self.deleting: DeleteRequest | None = None
        """The order that a worker is carrying out at this moment."""

    def note(self, what: str, *facts: object) -> None:
        self.trace.note(what, *facts)

    @abstractmethod
    def server_at(self, addr: Addr) -> WorkerService | None:
        """The server with this address."""

    @abstractmethod
    def cfm_for(self, worker: WorkerService) -> CfmService:
        """Who listens at `cfm_addr`."""
