"""The ordinary days of a node: metadata is written, viewers come and go, an operator looks in; and faults.

`set_going` starts everything that happens from time to time.  `calm_down` comes after the faults: people tidy
up.  Neighbours: `table` has the faults, `cfm_lab.sim.rest` waits until the calm node rests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

from cfm.model import Hits
from cfm_lab.sim.environment.faults import FaultKind
from cfm_lab.sim.environment.profile import MINUTE_MS
from cfm_lab.sim.environment.rng import Rng
from cfm_lab.sim.fault_events.inputs import drift
from cfm_lab.sim.fault_events.machines import bury, start_again
from cfm_lab.sim.fault_events.people import configure
from cfm_lab.sim.fault_events.table import FAULTS
from cfm_lab.sim.world import World


def set_going(world: World) -> None:
    """Start everything that happens from time to time, faults too."""
    world.metadata.on_change = world.metadata_changed
    world.write_metadata()
    rng = world.rng.fork("happenings")
    world.schedule.after(50, start_again, world, world.main)
    every(world, rng.fork("metadata"), world.profile.metadata_ms, _write_metadata)
    every(world, rng.fork("viewers"), world.profile.viewers_ms, _viewers)
    every(world, rng.fork("operator"), world.profile.operator_ms, _operator)
    every(world, rng.fork("source folder"), 10 * MINUTE_MS, lambda world, _rng: world.tell_san_index())
    for kind in world.swarm.events():
        _recur(world, rng.fork(kind.name), kind)


def calm_down(world: World) -> None:
    """The faults have stopped: start everything that is down, and put settings and inputs right."""
    world.san.mend([file.name for file in world.library])
    for server in world.servers.values():
        server.process.reachable = True
        server.process.go_on()
        server.restart()
    for cfm in [one for one in world.cfms if one is not world.main]:
        bury(world, cfm)
    world.main.process.go_on()
    _settings_right(world)
    start_again(world, world.main)
    world.writes_metadata = True
    world.set_hits(Hits())
    world.write_metadata()
    world.tell_san_index()


def _settings_right(world: World) -> None:
    cfm = world.main
    if cfm.config.destinations != world.destinations:
        cfm.kill()
        cfm.config = replace(cfm.config, destinations=world.destinations)
    rules = world.profile.rules
    configure(world, {field.name: getattr(rules, field.name) for field in fields(rules)})


def every(world: World, rng: Rng, mean_ms: int, call: Callable[[World, Rng], None]) -> None:
    """Let something happen again and again, about so often."""

    def due() -> None:
        call(world, rng)
        world.schedule.after(rng.between(mean_ms // 2, mean_ms * 3 // 2), due)

    world.schedule.after(rng.between(0, mean_ms), due)


def _recur(world: World, rng: Rng, kind: FaultKind) -> None:
    mean_ms = kind.rate * MINUTE_MS * 100 // world.profile.intensity_percent

    def due() -> None:
        if world.calm:
            return
        world.swarm.counts[kind.name] += 1
        world.note("fault", kind.name)
        FAULTS[kind.name](world, rng)
        world.schedule.after(rng.between(mean_ms // 4, mean_ms * 7 // 4), due)

    world.schedule.after(rng.between(MINUTE_MS, mean_ms), due)


def _write_metadata(world: World, rng: Rng) -> None:
    if not world.calm:
        drift(world, rng)
    if world.writes_metadata:
        world.write_metadata()


def _viewers(world: World, rng: Rng) -> None:
    """The window of the event log moves."""
    if world.calm:
        world.set_hits(Hits())
        return
    rising = {rng.pick(world.library).name: 5 + rng.below(20) for _ in range(rng.pick((0, 0, 1, 2)))}
    if world.ads and rng.below(4) == 0:
        rising[rng.pick(world.ads)] = 9
    if rng.below(5) == 0:
        rising["UNKNOWN01.mpg"] = 7
    watched = frozenset(rng.pick(world.library).name for _ in range(rng.below(3)))
    if (going := _going(world)) and rng.below(2):  # viewers come just when a file is being deleted
        watched |= {rng.pick(going)}
    if (going := _going(world)) and rng.below(3) == 0:
        rising[rng.pick(going)] = 5 + rng.below(20)
    world.set_hits(Hits(rising, watched))


def _going(world: World) -> list[str]:
    """Files that are being deleted, or that would go next for room."""
    going = [order.file.name for order in world.facts.open_orders()]
    core = world.main.core
    if core is not None:
        going += [file.name for files in core.shortlist.evictable.values() for file in files[:2]]
    return going


def _operator(world: World, rng: Rng) -> None:
    if world.calm or rng.below(3) == 0:
        world.main.confirm()
