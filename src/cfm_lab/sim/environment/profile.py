"""The profile of a world: how large it is, how long its periods are, and which faults it has."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cfm.plan.view import Rules
from cfm_lab.sim.environment import faults
from cfm_lab.sim.environment.rng import Rng
from cfm_lab.sim.environment.sickness import NO_HITS, OLD, SICKNESSES, SickPlace

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Profile:
    """The plan of one world."""

    sources: int
    destinations: int
    both: int
    """How many of the destinations are sources too."""
    old: int
    """How many of the destinations have old workers."""
    external: int
    """How many of our workers download with an external program."""
    mute: bool
    """The last of several sources has a worker that serves nothing: only external programs copy from it."""
    shared_disk: bool
    """Two addresses are one disk."""
    library: int
    ads: int
    file_mb: tuple[int, int]
    fill_percent: int
    """How much of the library all destinations together can hold at their limits."""
    rules: Rules
    heartbeat_ms: int
    full_look_ms: int
    wait_s: int
    old_poll_ms: int
    metadata_ms: int
    viewers_ms: int
    drift_ppm: int
    start_wall_s: int
    faults: frozenset[str]
    intensity_percent: int
    operator_ms: int
    sick: tuple[str, ...] = ()
    """Its sicknesses; empty in a usual world."""
    stocked_percent: int = 0
    """In a sick world: how full the healthy disks are at the beginning, as a share of their limits."""

    @property
    def workers(self) -> int:
        return self.sources + self.destinations


def draw(rng: Rng, *, only: frozenset[str] | None = None) -> Profile:
    """Draw a profile.  `only` replaces the faults that would be drawn."""
    destinations = rng.between(3, 8)
    old = rng.pick((0, 0, 0, 1, 2))
    chosen = faults.draw(rng.fork("faults"))
    rules = _rules(rng)
    return Profile(
        sources=rng.between(1, 3),
        destinations=destinations,
        both=rng.pick((0, 0, 1)),
        old=min(old, destinations - 2),
        external=rng.pick((0, 0, 0, 1)),
        mute=rng.below(4) == 0,
        shared_disk=rng.below(8) == 0 and old == 0,
        library=rng.between(40, 110),
        ads=rng.between(0, 5),
        file_mb=(100, rng.pick((400, 900))),
        fill_percent=rng.between(35, 90),
        rules=rules,
        heartbeat_ms=rng.pick((60_000, 120_000, 300_000)),
        full_look_ms=rng.pick((120_000, 300_000, 600_000)),
        wait_s=300,
        old_poll_ms=rng.pick((30_000, 120_000)),
        metadata_ms=min(rng.between(15, 90) * MINUTE_MS, rules.metadata_max_age_ms // 3),
        viewers_ms=rng.between(3, 30) * MINUTE_MS,
        drift_ppm=rng.pick((0, 20, 200)),
        start_wall_s=1_700_000_000 + rng.below(86_400 * 365),
        faults=chosen if only is None else only,
        intensity_percent=rng.pick((30, 100, 100, 300)),
        operator_ms=rng.between(10, 60) * MINUTE_MS,
    )


def draw_sick(rng: Rng, sick: tuple[str, ...], hours: int) -> Profile:
    """Draw the profile of a world with these sicknesses.

    Nothing strikes by chance in it, so that it differs from the same world without its sick part by that part
    alone.  Its periods are those of service.  Its healthy sources need a sixth to a half of the hours to fill
    all disks, so that loss of speed shows, and that there is time to come to rest.
    """
    usual = draw(rng, only=frozenset())
    sick_sources = sum(SICKNESSES[kind].place is SickPlace.SOURCE for kind in sick)
    healthy_sources = rng.pick((1, 1, 2))
    library, high_mb, fill_percent = rng.between(140, 200), rng.pick((400, 900)), rng.between(40, 80)
    fill_bytes = library * (100 + high_mb) * MB // 2 * fill_percent // 100
    speed_bps = fill_bytes * 8 // (healthy_sources * 3600 * hours) * rng.pick((6, 3, 2))
    return replace(
        usual,
        sources=sick_sources + healthy_sources,
        destinations=rng.between(5, 8),
        both=0,
        old=max(rng.pick((0, 0, 1)), len(OLD.intersection(sick))),
        external=0,
        mute=False,
        shared_disk=False,
        library=library,
        ads=0,
        file_mb=(100, high_mb),
        fill_percent=fill_percent,
        rules=Rules(
            ad_prefixes=("AD_",),
            limit_percent=rng.between(80, 95),
            copy_speed_bps=max(1, speed_bps // MB) * MB,
            incoming_per_destination=rng.pick((1, 4)),
            space_deletes_per_minute=10 if "files_resized" in sick else 30,
        ),
        heartbeat_ms=60_000,
        full_look_ms=300_000,
        old_poll_ms=30_000,
        metadata_ms=30 * MINUTE_MS,
        drift_ppm=0,
        sick=sick,
        stocked_percent=0 if NO_HITS.intersection(sick) else rng.pick((0, 60, 98)),
    )


def _rules(rng: Rng) -> Rules:
    """Most worlds have shorter periods than in service, so that more happens; some have those of service."""
    rules = Rules(
        ad_prefixes=("AD_",),
        limit_percent=rng.between(75, 95),
        copy_speed_bps=rng.pick((200, 400, 800)) * MB,
        incoming_per_destination=rng.between(1, 4),
        streams_per_source=1,
        space_deletes_per_minute=rng.pick((2, 30)),
        trims_per_minute=rng.pick((3, 300)),
        breaker_percent=rng.pick((15, 25, 50)),
    )
    if rng.below(4) == 0:
        return rules
    return replace(
        rules,
        task_timeout_ms=rng.pick((3, 10, 60)) * MINUTE_MS,
        lease_ms=rng.pick((20_000, 60_000)),
        minimum_stay_ms=rng.pick((2, 10, 60)) * MINUTE_MS,
        metadata_max_age_ms=rng.pick((45, 180, 2_880)) * MINUTE_MS,
        just_deleted_ms=rng.pick((20, 120, 1_440)) * MINUTE_MS,
        unknown_grace_ms=rng.pick((5, 20, 60)) * MINUTE_MS,
    )
