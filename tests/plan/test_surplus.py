"""Which copies count as surplus: unique files wait only for such as can go."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cfm.model import Addr, OnSan, Sighting
from cfm.plan.surplus import Surplus
from plan.worlds import DISK_A, DISK_B, NOW, TWICE, world


def at(view: object, addr: Addr) -> bool:
    return TWICE in Surplus(view, (TWICE,)).at(addr)  # type: ignore[arg-type]  # a view


@pytest.mark.parametrize(
    ("stale", "may_go"),
    [
        ((), (True, True)),
        ((DISK_A,), (True, False)),
        ((DISK_B,), (False, True)),
        ((DISK_A, DISK_B), (True, True)),
    ],
)
def test_no_copy_is_surplus_beside_one_that_is_older(
    stale: tuple[Addr, ...], may_go: tuple[bool, bool]
) -> None:
    view = world(stale={TWICE.name: frozenset(stale)})
    assert (at(view, DISK_A), at(view, DISK_B)) == may_go


def test_nobody_waits_for_the_trim_of_a_file_that_is_being_written() -> None:
    seen = Sighting(OnSan("/san/x", 100, NOW.wall_ms * 10**6), NOW.mono_ms, NOW.mono_ms)
    once = world(sightings={TWICE.name: seen})
    assert at(once, DISK_A), "in some seconds it may go"
    assert not at(replace(once, sightings={TWICE.name: seen._replace(changes=1)}), DISK_A)
