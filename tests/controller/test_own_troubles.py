"""What is wrong with cfm itself: told as long as it lasts, one condition for each kind."""

from __future__ import annotations

import pytest

from cfm.controller.decide import events as ev
from cfm.controller.decide.own_troubles import OwnTroubleKind
from cfm.controller.explain.ours import OWN_TROUBLES
from cfm.controller.explain.verdict import LINE_LENGTH, Verdict, verdict
from controller import worlds
from controller.node import Node


def at_rest() -> Node:
    """A node of which nothing has to be told."""
    node = worlds.at_rest()
    node.send(ev.SanIndexed(frozenset(node.san)))
    node.run(60_000)
    return node


def verdict_of(node: Node) -> Verdict:
    return verdict(node.core, node.core.last_round, node.now)


@pytest.mark.parametrize("kind", OwnTroubleKind)
def test_a_trouble_is_a_condition_until_it_is_over(kind: OwnTroubleKind) -> None:
    node = at_rest()
    node.send(ev.OwnTrouble(kind, "metadata", "no space left"))
    began_s = node.now.wall_s
    node.run(60_000)
    node.send(ev.OwnTrouble(kind, "metadata", "no space left " * 40))
    found = verdict_of(node)
    assert [one.name for one in found.conditions] == [kind.value]
    assert found.conditions[0].since_s == began_s
    assert "no space left" in found.line
    assert len(found.line) <= LINE_LENGTH
    node.send(ev.OwnTrouble(kind, "metadata", ""))
    assert verdict_of(node).conditions == ()


def test_equal_troubles_are_one_condition() -> None:
    node = at_rest()
    for job in ("metadata", "event log", "source folders"):
        node.send(ev.OwnTrouble(OwnTroubleKind.JOB_FAILING, job, "KeyError: 'x'"))
    [found] = verdict_of(node).conditions
    assert found.text.endswith("(and 2 more)")


def test_every_kind_of_trouble_has_its_words() -> None:
    assert set(OWN_TROUBLES) == set(OwnTroubleKind)


def test_a_plan_that_fails_is_made_again_after_growing_pauses() -> None:
    """Before, the error of a plan ended cfm."""
    node = at_rest()
    node.plan_fails = "MemoryError: "
    node.grade()
    lists = node.core.shortlist
    plans = node.plans
    node.run(3_600_000)
    assert [one.name for one in verdict_of(node).conditions] == ["plan_failing"]
    assert node.core.shortlist == lists
    assert 5 <= node.plans - plans <= 20
    node.plan_fails = ""
    node.run(660_000)
    assert verdict_of(node).conditions == ()
