"""The table of all bugs, which rule must notice which of them, and the hunt: which seed does."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cfm_lab.sim.environment import profile
from cfm_lab.sim.environment.parts import Parts
from cfm_lab.sim.environment.profile import Profile
from cfm_lab.sim.environment.rng import Rng
from cfm_lab.sim.goodput import play_pair
from cfm_lab.sim.run import run_seed
from cfm_lab.sim.violations import Violation
from zoo.bugs import FURTHER_ONES, OLD_ONES
from zoo.leases import OF_SEVERAL
from zoo.making import illegal_edges, without_guards

MECHANICAL: Mapping[str, Parts] = {**dict(without_guards()), **dict(illegal_edges())}
ZOO: Mapping[str, Parts] = {**OLD_ONES, **FURTHER_ONES, **OF_SEVERAL, **MECHANICAL}

IN_SICK_WORLDS: Mapping[str, str] = {
    "failures blame files alone": "no_mount",
    "pauses never grow": "refuses",
    "nobody sees copies vanish": "loses_arrivals",
    "a copy goes on where no destination is any more": "loses_role",
    "a slow copy goes on": "trickles",
    "a hung copy goes on": "hangs",
    "a hung destination is tried before room is made": "hangs",
    "a task waits for a deaf worker": "deaf",
    "a silent SAN is asked again and again": "folder_silent",
    "the SAN is a disk": "old_has_the_san",
    "a wrong size is found out again and again": "files_resized",
    "room is looked for only for the first files": "files_fit_nowhere",
    "without surplus_goes_first": "file_fails",
    "without source_not_in_pause": "no_mount",
    "without not_vanished_there": "loses_arrivals",
    "without it_does_not_fail": "files_fail",
}
"""What shows only where a part stays sick, and of what."""

NOTICED_BY: Mapping[str, tuple[str, ...]] = {
    "1": ("a name is cut at #",),
    "2": ("an ip counts twice", "without keeper_confirmed", "without another_copy_stays"),
    "3": ("without one_order_per_file",),
    "4": ("404 is a success", "silence is a success"),
    "5": ("orders are not written down", "orders go out before the commit"),
    "6": ("no epoch is checked", "no fence is kept"),
    "7": ("any metadata is accepted", "without metadata_fresh", "a restart forgets the measure"),
    "8": (
        "without within_pace",
        "without breaker_closed",
        "without room_is_needed",
        "without emptied_through_one_address",
        "a restart forgets the pace",
        "one reading proves a need",
        "without need_is_proven",
    ),
    "9": (
        "without not_rising",
        "without not_watched",
        "without not_young",
        "without not_an_ad in delete_guards",
        "without not_being_copied",
    ),
    "10": ("without holders_listed",),
    "11": ("late reports count",),
    "12": ("a source serves all who come", "without source_free"),
    "13": ("without destination_free",),
    "14": ("any bytes are published",),
    "15": ("no fsync of files", "no fsync of folders", "done for what failed"),
    "16": tuple(name for name in MECHANICAL if " becomes " in name and "order unknown" not in name),
    "17": ("a restart forgets orders", "a restart forgets tasks", "two cfm on one state"),
    "18": (
        "the next /df shows what landed",
        "without within_limit",
        "without server_known",
        "without through_one_address",
    ),
    "19": ("any name is taken",),
    "20": ("what failed is given up",),
    "21": ("ended tasks are kept",),
    "22": ("time-outs by the wall clock",),
    "23": ("tasks are offered to others",),
    "24": ("without not_just_deleted",),
    "27": ("the SAN is a disk",),
    "rule 3": ("another server's hits count", "hits count each time they are read"),
    "rule 4": ("without on_no_destination", "an old look at the SAN will do", "without source_speaks"),
    "rule 7": ("without not_failing", "without pair_not_in_pause", "without server_carries_out"),
    "rule 11": ("without not_next_to_go",),
    "rule 20": ("without deletes_on", "without not_paused in delete_guards", "without not_lately_dropped"),
    "rule 25": ("without at_rest_on_san",),
    "rule 25b": ("no copy is ever stale", "without keeper_not_stale"),
    "26": ("without surplus_goes_first",),
    "rule 13": ("without worth_its_room",),
    "rule 13b": (
        "the ledger releases nothing",
        "without all_for_this_room",
        "without fits_nowhere",
        "without kept_for_no_other",
        "without makes_enough_room",
        "without not_promised_elsewhere",
    ),
    "rule 24": ("a lost log is an empty one", "without hits_are_known"),
    "rule 21": (
        "without source_not_in_pause",
        "without destination_not_in_pause",
        "without it_does_not_fail",
        "without not_vanished_there",
        "without destination_takes_copies",
    ),
    "rule 6": ("a copy goes on where no destination is any more",),
    "25": tuple(
        name for name in IN_SICK_WORLDS if not name.startswith(("without", "the SAN", "a copy goes on"))
    ),
    "rule 21b": ("what cfm deletes has vanished",),
    "same plan": ("a plan that wavers",),
    "one leader": (
        "a lease by the wall clock",
        "a lease counts from the answer",
        "a leader acts until it is told",
        "a commit asks for no epoch",
    ),
}
"""Rule → bugs that break it first of all.  What is not named here may be noticed by any rule."""

CFM_OF_SEVERAL = 2

RULE_OF: Mapping[str, str] = {bug: rule for rule, bugs in NOTICED_BY.items() for bug in bugs}

NEEDS_SHARED_DISK = frozenset(
    {
        "without through_one_address",
        "without emptied_through_one_address",
        "without on_another_disk",
        "each address is a disk",
    }
)
"""What shows only where two addresses are one disk: the other worlds, nine in ten, are passed over."""

OFTEN_PERCENT, VERY_OFTEN_PERCENT = 300, 2_000


def _often(*faults: str, **profile: Any) -> Callable[[Profile], Profile]:
    """These faults happen, three times as often as usual; the rest of the profile may be fixed as well."""

    def tempting(drawn: Profile) -> Profile:
        return replace(drawn, faults=drawn.faults | set(faults), intensity_percent=OFTEN_PERCENT, **profile)

    return tempting


def _slowly_paced(drawn: Profile) -> Profile:
    """There is always more to trim than the pace lets go, and cfm is killed every few minutes."""
    rules = replace(drawn.rules, trims_per_minute=3)
    faults = frozenset({"cfm_killed", "foreign_copies"})
    return replace(drawn, faults=faults, intensity_percent=VERY_OFTEN_PERCENT, rules=rules)


TEMPTED_BY: Mapping[str, Callable[[Profile], Profile]] = {
    **{bug: _often("operator_cancels") for bug in MECHANICAL if bug.startswith("task cancelled becomes")},
    "without not_rising": _often("limit_mistyped", "log_burst"),
    "without not_watched": _often("limit_mistyped", "log_burst"),
    "without not_young": _often("limit_mistyped"),
    "without not_an_ad in delete_guards": _often("limit_mistyped", "prefix_added"),
    "without source_speaks": _often(mute=True),
    "without replaced_where_it_can_be": _often("san_file_rewritten", external=1),
    "what cfm deletes has vanished": _often("foreign_copies", "answer_lost"),
    "a restart forgets orders": _often("cfm_killed", "foreign_copies", "limit_mistyped"),
    "a restart forgets the pace": _slowly_paced,
}
"""What shows only where such things come together, which chance brings about too seldom."""

SLOW = frozenset(
    {
        "a hung destination is tried before room is made",
        "the next /df shows what landed",
        "without destination_free",
        "without emptied_through_one_address",
        "without not_failing",
        "without not_in_a_task",
        "without not_just_deleted",
        "without room_is_made",
        "without through_one_address",
    }
)
"""What shows in few worlds only.  The whole zoo hunts these for longer, and a test run does not."""
SLOW_TIMES = 5

REDUNDANT: Mapping[str, str] = {
    "without at_rest_where_it_stays": "an order for space needs the SAN's rest once more when it is sent",
    "without not_missing_on_san": "a copy and room for one need a fresh yes of the SAN in any case",
    "without deletes_free_room": "no policy wishes for it; held over hours by tests/controller/test_disks.py",
    "without limit_can_be_reached": "the breaker holds first, unless an operator lets it go: test_disks.py",
    "without not_to_a_source_folder": "no guard lets a copy go to a server that is not usable",
    "without not_a_source_folder": "no guard lets a server delete that is not usable",
    "without surely_no_source_folder": "a simulated source folder says in the same moment whose disk it is",
}
"""Guards whose loss nothing can show, and why."""


@dataclass(frozen=True, slots=True)
class Catch:
    """Which seed caught a bug, by which rule, after how much work."""

    seed: int
    rule: str
    text: str
    cpu_s: float


def hunt(name: str, budget_s: int, first_seed: int, hours: int = 2) -> Catch | None:
    """Run worlds until one of them notices, by the rule that must; None where the time is up first."""
    began_ns = time.process_time_ns()
    rule = RULE_OF.get(name)
    seed = first_seed
    while time.process_time_ns() - began_ns < budget_s * 10**9:
        if name in NEEDS_SHARED_DISK and not profile.draw(Rng(seed).fork("profile")).shared_disk:
            seed += 1
            continue
        found = _violations(name, seed, hours, rule)
        if found and rule in (None, found[0].invariant):
            first = found[0]
            return Catch(seed, first.invariant, first.text, (time.process_time_ns() - began_ns) / 1e9)
        if found and os.environ.get("ZOO_SHOW"):
            print(f"  {name}: seed {seed} by {found[0].invariant}: {found[0].text[:150]}")
        seed += 1
    return None


def _violations(name: str, seed: int, hours: int, rule: str | None) -> list[Violation]:
    """What a world breaks with this bug.  In a sick world it need not be the first that is broken: goodput is
    known only at its end."""
    if name in IN_SICK_WORLDS:
        found = play_pair(seed, hours, (IN_SICK_WORLDS[name],), ZOO[name]).violations
        return [one for one in found if one.invariant == rule]
    controllers = CFM_OF_SEVERAL if name in OF_SEVERAL else 1
    plan = _tempting(name, seed)
    return run_seed(seed, hours, ZOO[name], plan=plan, stop_early=True, controllers=controllers).violations


def _tempting(name: str, seed: int) -> Profile | None:
    """The profile of a world in which more tempts this bug than chance; None where chance is enough."""
    tempting = TEMPTED_BY.get(name)
    return tempting(profile.draw(Rng(seed).fork("profile"))) if tempting is not None else None
