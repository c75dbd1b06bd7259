"""A condition: one thing that an operator should know about, as a value; and the scene it is found in.

Pure.  Neighbours: `conditions` finds them all; those in `held` come from the refusals of the last round.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cfm.controller.decide.core import Core
from cfm.controller.decide.state import NodeState
from cfm.controller.explain.health import Activity
from cfm.controller.explain.words import at_servers, short_names
from cfm.model import Addr, Now


class Severity(enum.StrEnum):
    """How bad a condition is."""

    NOTE = "note"
    """It is as it should be, or ends by itself.  It explains what an operator sees."""
    DEGRADED = "degraded"
    """cfm cannot do something that it should do."""
    CRITICAL = "critical"
    """cfm can do nothing."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that is so, with all servers where it is so."""

    name: str
    """It never changes, for scripts.  A condition that comes from a refusal has the refusal's name."""
    level: Severity
    text: str
    """What is so and where, as a sentence without a full stop."""
    remedy: str = ""
    """What to do about it."""
    servers: tuple[Addr, ...] = ()
    files: int | None = None
    size_bytes: int | None = None
    since_s: int | None = None
    """Unix time; None where it is not known."""
    holds: bool = False
    """It holds copies or deletes back: a brake, or something that they wait for."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything in which conditions are looked for, and the words for it."""

    core: Core
    activity: Activity
    now: Now
    names: Mapping[Addr, str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", short_names(self.state.fleet.records))

    @property
    def state(self) -> NodeState:
        return self.core.state

    def in_order(self, servers: Iterable[Addr]) -> tuple[Addr, ...]:
        """Each server once, in the order of the settings."""
        wanted = set(servers)
        return tuple(addr for addr in self.state.fleet.records if addr in wanted)

    def at(self, servers: Iterable[Addr]) -> str:
        return at_servers([self.names[addr] for addr in servers])

    def wall_s(self, mono_ms: int) -> int:
        """The Unix time of a moment of the monotonic clock."""
        return self.now.wall_s - (self.now.mono_ms - mono_ms) // 1000
