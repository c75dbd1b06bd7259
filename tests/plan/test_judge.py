"""The judge: what a policy hears, what is booked, and what the SAN is asked; and a new policy."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import cfm
from cfm.model import Addr, DeleteKind, File, Hits, Known, OnSan, Unknown
from cfm.plan import refusals
from cfm.plan.judge import Judge
from cfm.plan.kernel import KERNEL
from cfm.plan.outlook import Outlook
from cfm.plan.policies import POLICIES
from cfm.plan.round import Round
from cfm.plan.view import ClusterView, Rules
from cfm.plan.wishes import Answer, Copy, Delete, MakeRoom, No, Place, Wish, Wishes
from plan.worlds import (
    DISK_A,
    DISK_B,
    DISK_C,
    HELD,
    NEW,
    NOW,
    SOURCE,
    SOURCE_2,
    TWICE,
    on_san,
    server,
    shortlist,
    task,
    with_server,
    world,
)

WORSE = File("WORSE.mpg", 1000, 100)
NEXT = File("NEXT.mpg", 6, 100)
COPY = Copy(NEW, SOURCE, DISK_B, "")


def ask(view: ClusterView, *wishes: Wish) -> tuple[list[Answer], Round]:
    heard: list[Answer] = []

    def policy(_outlook: Outlook) -> Wishes:
        for wish in wishes:
            answer = yield wish
            heard.append(answer)

    return heard, Judge(view, KERNEL).run([policy], shortlist())


def go(file: File, addr: Addr = DISK_A) -> Delete:
    return Delete(file, addr, DeleteKind.SPACE, "")


def full(**more: Any) -> ClusterView:
    """Nothing takes a file of 200 bytes, and two of 100 may go for it on DISK_A."""
    return world(
        [server(DISK_A, {HELD.name, WORSE.name}, 880), server(DISK_B, {TWICE.name}, 900)],
        san={file.name: on_san(file) for file in (BIG, HELD, WORSE)},
        **more,
    )


BIG = File("BIG.mpg", 1, 200)
BOTH = MakeRoom(BIG, DISK_A, (go(WORSE), go(HELD)))


# ── a file to be placed ─────────────────────────────────────────────────────────────────────────────────


def test_a_file_is_placed_in_the_first_way_that_may_be() -> None:
    view = world([server(DISK_C, used_bytes=890)])
    ways = ((SOURCE, DISK_C), (SOURCE, DISK_A), (SOURCE_2, DISK_B), (SOURCE, DISK_B))
    heard, round_ = ask(view, Place(NEW, "why", ways))
    assert heard == [None]
    assert round_.booked == [Copy(NEW, SOURCE_2, DISK_B, "why")]
    assert round_.why_not_copied(NEW.name) is None
    assert not round_.counts, "what was tried before does not count"


def test_ways_are_drawn_only_as_far_as_they_are_needed() -> None:
    drawn: list[Addr] = []

    def ways() -> Any:
        for addr in (DISK_A, DISK_B, DISK_C):
            drawn.append(addr)
            yield SOURCE, addr

    ask(world(), Place(NEW, "", ways()))
    assert drawn == [DISK_A, DISK_B]
    drawn.clear()
    ask(world(paused=True), Place(NEW, "", ways()))
    assert not drawn, "nothing may be done with the file, wherever it would go"


def test_of_several_places_the_reason_is_told_that_ends_soonest() -> None:
    view = with_server(world([server(DISK_C, used_bytes=890)]), SOURCE, up=False)
    heard, round_ = ask(view, Place(NEW, "", ((SOURCE, DISK_C), (SOURCE, DISK_B), (SOURCE, DISK_A))))
    assert heard == [No(refusals.NO_SOURCE)]
    assert round_.counts == {("copy", "no_source"): 1}


def test_who_sees_no_way_is_told_what_the_file_waits_for() -> None:
    nobody = with_server(with_server(world(), SOURCE, up=False), SOURCE_2, up=False)
    unknown = with_server(with_server(world(), DISK_A, up=False), DISK_B, up=False)
    place = Place(NEW, "")
    assert ask(nobody, place)[0] == [No(refusals.NO_SOURCE)]
    assert ask(world(), place)[0] == [No(refusals.NO_DESTINATION)]
    assert ask(unknown, place)[0] == [No(refusals.NO_DESTINATION)]
    assert ask(world([server(DISK_B, used_bytes=900)]), place)[0] == [No(refusals.NO_ROOM)]
    assert ask(world(paused=True), place)[0] == [No(refusals.PAUSED)]


# ── the SAN ─────────────────────────────────────────────────────────────────────────────────────────────


def test_the_san_is_asked_for_what_it_alone_holds_up() -> None:
    heard, round_ = ask(world(san={}), COPY)
    assert heard == [No(refusals.SAN_UNKNOWN)]
    assert (round_.ask_san, round_.ask_ahead) == ([NEW], [])


def test_the_san_is_asked_ahead_for_what_waits_for_a_server() -> None:
    heard, round_ = ask(with_server(world(san={}), SOURCE, up=False), COPY)
    assert heard == [No(refusals.NO_SOURCE)]
    assert (round_.ask_san, round_.ask_ahead) == ([], [NEW])
    lately = {NEW.name: Known(OnSan("/san/NEW.mpg", 100), NOW.mono_ms - 60_000)}
    _heard, again = ask(with_server(world(san=lately), SOURCE, up=False), COPY)
    assert not again.ask_ahead, "not twice within a minute"


def test_the_san_is_not_asked_for_what_something_else_is_against() -> None:
    for view in (world(san={}, paused=True), world([server(DISK_B, used_bytes=900)], san={})):
        _heard, round_ = ask(view, COPY)
        assert not round_.ask_san
        assert not round_.ask_ahead


def test_a_san_that_was_silent_a_moment_ago_is_left_alone() -> None:
    silent = {NEW.name: Known(Unknown("hangs", 0), NOW.mono_ms)}
    for view in (world(san=silent), with_server(world(san=silent), SOURCE, up=False)):
        _heard, round_ = ask(view, COPY)
        assert not round_.ask_san
        assert not round_.ask_ahead


# ── a bundle ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_bundle_is_granted_as_a_whole_and_its_room_is_kept() -> None:
    heard, round_ = ask(full(), BOTH, Copy(BIG, SOURCE, DISK_A, ""), BOTH)
    assert heard[0] is None
    assert round_.booked == [BOTH]
    assert round_.ledger.disks[DISK_A].reserved_for == BIG
    assert heard[1] == No(refusals.NO_ROOM), "it waits until both have gone"
    assert heard[2] == No(refusals.ORDER_UNKNOWN, go(WORSE)), "nothing goes twice"


def test_of_a_refused_bundle_nothing_is_left_in_the_books() -> None:
    view = full(hits=Hits({HELD.name: 9}))
    (answer, again), round_ = ask(view, BOTH, go(WORSE))
    assert answer == No(refusals.RISING, go(HELD)), "the policy hears which delete was refused"
    assert again == No(refusals.NOT_NEEDED), "the disk is not over its limit"
    assert not round_.booked
    assert round_.counts == {("delete", "rising"): 1, ("delete", "not_needed"): 1}
    assert round_.ledger.disks[DISK_A].leaving_bytes == 0
    assert round_.ledger.disks[DISK_A].reserved_for is None
    assert not round_.ledger.busy_files


def test_each_delete_of_a_bundle_is_judged_with_those_before_it() -> None:
    one_left = {(DISK_A, DeleteKind.SPACE): Rules().space_deletes_per_minute - 1}
    (answer,), round_ = ask(full(deletes_last_minute=one_left), BOTH)
    assert answer == No(refusals.PACE, go(HELD))
    assert round_.ledger.ordered == one_left


def test_room_is_made_only_for_a_file_that_may_be_copied() -> None:
    (answer,), round_ = ask(full(paused=False, task_of={BIG.name: task(BIG)}), BOTH)
    assert answer == No(refusals.NOT_NEEDED, go(WORSE))
    left = replace(full(), san={file.name: on_san(file) for file in (HELD, WORSE)})
    (answer,), round_ = ask(left, BOTH)
    assert answer == No(refusals.SAN_UNKNOWN)
    assert round_.ask_san == [BIG], "that is all that is missing"


# ── brakes ──────────────────────────────────────────────────────────────────────────────────────────────


def test_what_an_operator_can_release_is_kept_apart() -> None:
    view = world([server(DISK_A, {HELD.name}, 950, limit_percent=70)])
    _heard, round_ = ask(view, go(HELD))
    assert list(round_.brakes) == [(DISK_A, refusals.BREAKER)]


# ── a new policy ────────────────────────────────────────────────────────────────────────────────────────

NEW_POLICY = '''
"""Prefers short files: of those that are wanted, the shortest come first."""

from cfm.plan.outlook import Outlook
from cfm.plan.policies.copies import Places
from cfm.plan.wishes import Place, Wishes


def short_first(outlook: Outlook) -> Wishes:
    for file in sorted(outlook.lists.wanted, key=lambda file: file.size_bytes):
        yield Place(file, f"short: {file.size_bytes} bytes", Places(outlook, outlook.openings).ways(file))
'''


def test_a_new_policy_is_one_file_and_one_row() -> None:
    """It is not told of guards, books or orders, and keeps every rule all the same."""
    module = ModuleType("short_first")
    exec(NEW_POLICY, module.__dict__)  # as if it were a file in `plan/policies`
    short, long, missing = (
        File("SHORT.mpg", 30, 10), File("LONG.mpg", 20, 90), File("MISSING.mpg", 10, 5),
    )  # fmt: skip
    view = world(san={file.name: on_san(file) for file in (short, long)})
    lists = shortlist([missing, long, short])
    policies = (module.__dict__["short_first"], *POLICIES)
    round_ = Judge(view, KERNEL).run(policies, lists)
    assert [(copy.file, copy.reason) for copy in round_.copies] == [
        (short, "short: 10 bytes"),
        (long, "short: 90 bytes"),
    ]
    assert round_.why_not_copied(missing.name) is refusals.NO_SOURCE, (
        "both were taken when it was asked again"
    )
    assert round_.ask_san == [missing]


# ── nothing else books ──────────────────────────────────────────────────────────────────────────────────


def test_nothing_but_the_judge_books() -> None:
    root = Path(cfm.__file__).parent
    booking = re.compile(r"\.(?:un)?book_\w+\(")
    found = {
        path.relative_to(root).as_posix() for path in root.rglob("*.py") if booking.search(path.read_text())
    }
    assert found == {"plan/judge.py"}


def test_no_policy_knows_a_guard_or_the_books() -> None:
    """The import rules hold it as well; here a list of what they may know."""
    root = Path(cfm.__file__).parent / "plan" / "policies"
    known = {
        name
        for path in root.glob("*.py")
        for name in re.findall(r"^from cfm\.plan\.?(\S*) import", path.read_text(), re.MULTILINE)
    }
    rest = {name for name in known if not name.startswith("policies.")}
    assert rest <= {"", "outlook", "refusals", "surplus", "view", "wishes", "worth"}
