"""What people do to a node: they change settings, also by mistake, exchange servers, and press buttons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from cfm.controller.decide import events as ev
from cfm_lab.sim.environment.profile import MINUTE_MS
from cfm_lab.sim.environment.rng import Rng
from cfm_lab.sim.fault_events.luck import FaultEvent
from cfm_lab.sim.fault_events.machines import start_again
from cfm_lab.sim.processes.worker import SimWorker
from cfm_lab.sim.world import World


def _change_rules(world: World, rng: Rng, **changed: object) -> None:
    cfm = world.main
    if not cfm.running or cfm.process.stopped:
        return
    right = {name: getattr(world.profile.rules, name) for name in changed}
    configure(world, changed)
    world.heal_after(rng.between(1, 60) * MINUTE_MS, lambda: configure(world, right))


def configure(world: World, changed: Mapping[str, object]) -> None:
    """Every cfm reads new settings."""
    for cfm in world.cfms:
        rules = replace(cfm.config.rules, **changed)  # type: ignore[arg-type]  # the callers name the fields
        if rules != cfm.config.rules:
            cfm.config = replace(cfm.config, rules=rules)
            if cfm.running:
                cfm.process.do(partial(cfm.feed, ev.RulesChanged(rules)))


def limit_mistyped(world: World, rng: Rng) -> None:
    _change_rules(world, rng, limit_percent=rng.pick((1, 9, 30, 60)))


def prefix_added(world: World, rng: Rng) -> None:
    _change_rules(world, rng, ad_prefixes=("AD_", f"F0{rng.below(10)}"))


def deletes_off(world: World, rng: Rng) -> None:
    _change_rules(world, rng, deletes_on=False)


def server_removed(world: World, rng: Rng) -> None:
    """A server is taken out of the settings, which needs a restart, and put back later."""
    cfm = world.main
    if len(world.destinations) < 3 or not cfm.running:
        return
    addr = rng.pick(world.destinations)
    cfm.kill()
    cfm.config = replace(
        cfm.config, destinations=tuple(one for one in cfm.config.destinations if one != addr)
    )
    start_again(world, cfm)

    def back() -> None:
        main = world.main
        main.kill()
        main.config = replace(main.config, destinations=world.destinations)
        start_again(world, main)

    world.heal_after(rng.between(2, 90) * MINUTE_MS, back)


def addresses_swapped(world: World, rng: Rng) -> None:
    one, other = (
        rng.shuffled(world.destinations[world.profile.both :])[:2]
        if len(world.destinations) > 3
        else (None, None)
    )
    if one is None or other is None:
        return
    servers = world.servers[one], world.servers[other]
    if not all(isinstance(s, SimWorker) and s.process.up for s in servers):
        return
    for server, addr in zip(servers, (other, one), strict=True):
        assert isinstance(server, SimWorker)
        server.kill()
        server.move_to(addr)
        world.servers[addr] = server
    for server in servers:
        world.heal_after(rng.between(1_000, 30_000), server.restart)


def operator_cancels(world: World, rng: Rng) -> None:
    cfm = world.main
    if cfm.running and cfm.core is not None and cfm.core.state.tasks.active:
        cfm.cancel(rng.pick(sorted(cfm.core.state.tasks.active)))


def operator_confirms(world: World, _rng: Rng) -> None:
    world.main.confirm()


FAULTS: Final[tuple[FaultEvent, ...]] = (
    limit_mistyped,
    prefix_added,
    deletes_off,
    server_removed,
    addresses_swapped,
    operator_cancels,
    operator_confirms,
)
