"""Every brake bites, lets go, and tells an operator how: in the verdict, which is what people read first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from cfm.controller.decide import events as ev
from cfm.controller.decide.releasing import RELEASED_FOR_S
from cfm.controller.explain.health import Health
from cfm.controller.explain.rules_preview import rules_preview_json
from cfm.controller.explain.verdict import verdict
from cfm.model import File
from cfm.plan.view import Rules
from controller.node import Node, files

SECOND_MS, MINUTE_MS, HOUR_MS = 1000, 60_000, 3_600_000
AT = "127.0.2.1:8888"


def over_limit(age_s: int = 60, **rules: int | bool) -> Node:
    """One destination, full: one of ten files has to go."""
    library = files(10)
    node = Node(library, destinations=1, disk_bytes=1000, rules=Rules(**rules))  # type: ignore[arg-type]
    node.put(node.destinations[0], *library)
    node.send(ev.SanIndexed(frozenset(node.san)))
    node.grade(age_s=age_s)
    return node


def doubled(number: int = 10, **rules: int | bool) -> Node:
    """Two destinations with room, and every file on both."""
    library = files(number)
    node = Node(library, disk_bytes=4000, rules=Rules(**rules))  # type: ignore[arg-type]
    for addr in node.destinations:
        node.put(addr, *library)
    node.send(ev.SanIndexed(frozenset(node.san)))
    node.grade()
    return node


def nothing_yet() -> Node:
    """A server that answers heartbeats and lists nothing; another holds the same files."""
    node = doubled(1)
    for addr in node.destinations:
        node.workers[addr].lists = False
    return node


def just_copied() -> Node:
    """All that is there came minutes ago; then the limit is lowered."""
    node = Node(files(9), destinations=1, disk_bytes=1000)
    node.send(ev.SanIndexed(frozenset(node.san)))
    node.grade()
    node.run(MINUTE_MS)
    assert len(node.holders("F001.mpg")) == 1
    node.send(ev.RulesChanged(Rules(limit_percent=80)))
    return node


def _lists_again(node: Node) -> None:
    for worker in node.workers.values():
        worker.lists = True


def _confirmed(node: Node) -> None:
    node.send(ev.BreakerReleased(node.request()))


@dataclass(frozen=True, slots=True)
class Brake:
    story: str
    make: Callable[[], Node]
    before: int
    """Deletes that come before it bites."""
    condition: str
    """The name of the condition that the verdict has while it holds."""
    servers: tuple[str, ...]
    """Where it holds; none where it holds everywhere."""
    says: tuple[str, ...]
    """What to do, in the words of the verdict's line."""
    release: Callable[[Node], object]
    after: int
    """Deletes in all when it has let go."""
    release_takes_ms: int = MINUTE_MS


BRAKES = (
    Brake(
        "pace of deletes for room",
        lambda: over_limit(limit_percent=50, breaker_percent=100, space_deletes_per_minute=2),
        2,
        "pace",
        (AT,),
        ("within a minute", "`remover.space_deletes_per_minute`"),
        lambda node: node.run(90 * SECOND_MS),
        5,
    ),
    Brake(
        "pace of trims",
        lambda: doubled(trims_per_minute=2),
        4,
        "pace",
        ("127.0.2.2:8888",),
        ("within a minute", "`remover.trims_per_minute`"),
        lambda node: node.run(3 * MINUTE_MS),
        10,
    ),
    Brake(
        "breaker",
        lambda: over_limit(limit_percent=50),
        0,
        "breaker",
        (AT,),
        ("correct the limit", "`cfm confirm SERVER`"),
        _confirmed,
        5,
    ),
    Brake(
        "not listed since the start",
        nothing_yet,
        0,
        "list_unknown",
        (AT, "127.0.2.2:8888"),
        ("The file list is unknown at", "connection refused", "nothing is copied or deleted"),
        _lists_again,
        1,
    ),
    Brake(
        "age of metadata",
        lambda: over_limit(age_s=3 * 86_400),
        0,
        "metadata_old",
        (),
        ("Nothing is deleted", "too old", "bring the grade and history files up to date"),
        lambda node: node.grade(),
        1,
    ),
    Brake(
        "minimum stay",
        just_copied,
        0,
        "over_limit",
        (AT,),
        ("9 files arrived lately", "`remover.minimum_stay_sec`"),
        lambda node: node.run(HOUR_MS),
        1,
    ),
    Brake(
        "deletes: off",
        lambda: over_limit(deletes_on=False),
        0,
        "deletes_off",
        (),
        ("set `deletes: on` in cfm.yml, then run `cfm reload`",),
        lambda node: node.send(ev.RulesChanged(Rules())),
        1,
    ),
)


@pytest.mark.parametrize("brake", BRAKES, ids=[brake.story for brake in BRAKES])
def test_it_bites_says_how_and_lets_go(brake: Brake) -> None:
    node = brake.make()
    node.run(20 * SECOND_MS)
    assert len(node.deleted) == brake.before
    found = verdict(node.core, node.core.last_round, node.now)
    assert found.health is (Health.BUSY if brake.condition == "pace" else Health.DEGRADED)
    (condition,) = [one for one in found.conditions if one.name == brake.condition]
    assert condition.servers == brake.servers
    for words in (condition.text, *brake.says):
        assert words in found.line
    brake.release(node)
    node.run(brake.release_takes_ms)
    assert len(node.deleted) == brake.after
    found = verdict(node.core, node.core.last_round, node.now)
    assert found.health is Health.OK
    assert brake.condition not in [one.name for one in found.conditions]


def test_a_mistyped_limit_is_told_before_it_is_in_force() -> None:
    """No file was listed as one that may go, because the disks are within the present limit."""
    node = Node(files(9), destinations=1, disk_bytes=1000, rules=Rules(minimum_stay_ms=0))
    node.grade()
    node.run(60_000)
    (only,) = node.destinations
    found = rules_preview_json(node.core, node.now, replace(node.core.state.rules, limit_percent=9))
    assert found["now"]["held"] == []
    assert found["then"]["over_limit"] == [only]
    assert found["then"]["held"] == [{"server": only, "would_free_bytes": 810}]
    mild = replace(node.core.state.rules, limit_percent=85)
    assert rules_preview_json(node.core, node.now, mild)["then"]["held"] == []


def test_what_a_raised_limit_brings_back_is_told_before_it_is_in_force() -> None:
    """Four files went for a lower limit.  Three of them fit again, and a new one of a better rank."""
    rules = Rules(minimum_stay_ms=0, breaker_percent=100)
    node = Node(files(9), destinations=1, disk_bytes=1000, rules=rules)
    node.grade()
    node.run(60_000)
    node.send(ev.RulesChanged(replace(rules, limit_percent=50)))
    node.run(60_000)
    new = File("NEW.mpg", 7, 100, hits=1)
    node.san[new.name] = new.size_bytes
    node.grade([*node.library[:6], new, *(replace(file, rank=file.rank + 1) for file in node.library[6:])])
    node.run(60_000)
    found = rules_preview_json(node.core, node.now, replace(rules, limit_percent=90))
    assert found["now"]["back"] == {"files": 0, "bytes": 0, "first": []}
    assert found["then"]["back"] == {
        "files": 3,
        "bytes": 300,
        "first": ["F006.mpg", "F007.mpg", "F008.mpg"],
    }
    node.send(ev.RulesChanged(replace(rules, limit_percent=90)))
    node.run(60_000)
    assert set(node.workers[node.destinations[0]].files) == {f.name for f in node.library[:9]}


def test_a_breaker_that_holds_room_for_other_files_does_not_speak_of_the_limit() -> None:
    """A large file is wanted, and the only disk is full of a few others."""
    library = files(9)
    node = Node(library, destinations=1, disk_bytes=1000, rules=Rules(minimum_stay_ms=0, breaker_percent=5))
    node.grade()
    node.run(60_000)
    wanted = File("NEW.mpg", 1, 400)
    node.san[wanted.name] = wanted.size_bytes
    node.index()
    node.grade([wanted, *(replace(file, rank=file.rank + 100) for file in library)])
    node.run(60_000)
    (found,) = [one for one in verdict(node.core, node.core.last_round, node.now).conditions
                if one.name == "breaker"]  # fmt: skip
    assert "limit" not in found.text + found.remedy
    assert "room for better-ranked files would take" in found.text


def released(**rules: int) -> Node:
    """A limit that would free half of the disk; an operator has let it, and one of five files is gone."""
    node = over_limit(limit_percent=50, space_deletes_per_minute=1, **rules)
    node.run(10 * SECOND_MS)
    assert node.deleted == []
    _confirmed(node)
    node.run(10 * SECOND_MS)
    assert len(node.deleted) == 1
    return node


def restart(node: Node, rules: Rules | None = None) -> None:
    node.restart(rules)
    node.send(ev.SanIndexed(frozenset(node.san)))
    node.grade()


def test_what_an_operator_let_go_goes_on_after_a_restart_and_ends_with_its_plan() -> None:
    node = released()
    restart(node)
    node.run(10 * MINUTE_MS)
    assert len(node.deleted) == 5
    assert node.store.state.releases == {}


def test_another_limit_at_a_restart_is_confirmed_anew() -> None:
    node = released()
    restart(node, Rules(limit_percent=30, space_deletes_per_minute=1))
    node.run(10 * MINUTE_MS)
    assert len(node.deleted) == 1
    assert node.store.state.releases == {}


def test_another_limit_while_it_runs_is_confirmed_anew() -> None:
    node = released()
    node.send(ev.RulesChanged(Rules(limit_percent=30, space_deletes_per_minute=1)))
    assert node.store.state.releases == {}


def test_what_an_operator_let_go_long_ago_is_confirmed_anew() -> None:
    node = released()
    node.wall_shift_ms += 1000 * RELEASED_FOR_S
    restart(node)
    node.run(10 * MINUTE_MS)
    assert len(node.deleted) == 1
    assert node.store.state.releases == {}
