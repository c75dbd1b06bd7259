"""What the last good metadata contained is kept: a restart takes no file that was refused before it."""

from __future__ import annotations

from cfm.controller.decide import events as ev
from cfm.controller.explain.metadata import metadata_json
from cfm.controller.explain.verdict import verdict
from cfm.model import Measure, SnapshotFacts
from controller.node import Node, files


def test_the_measure_of_what_is_in_force_outlives_a_restart() -> None:
    node = Node(files(30))
    node.send(ev.SnapshotAccepted(SnapshotFacts("s", node.now.wall_s, 30, 28, history_files=90), 0))
    node.restart()
    assert node.core.state.metadata.measure == Measure(30, 90, 28)
    assert node.core.state.snapshot is None, "the files themselves are read again"


def test_it_is_written_when_it_changes_and_not_at_each_reading() -> None:
    node = Node(files(30))
    node.grade()
    node.store.state.measure = None
    node.grade()
    assert node.store.state.measure is None


def test_what_was_rejected_is_shown_with_its_remedy() -> None:
    node = Node(files(30))
    node.grade()
    node.restart()
    why = "less than half of the last good reading: 4 graded files, 30 before"
    facts = SnapshotFacts(
        "a-b", node.now.wall_s, 4, 4, accepted=False, why=why, history_files=4, shrunken=True
    )
    node.send(ev.SnapshotRejected(facts))
    shown = metadata_json(node.core, node.now)
    assert shown["in_force"] is None
    assert shown["last_good"] == {"graded_files": 30, "history_files": 0, "known_files": 30}
    assert shown["rejected"]["can_be_accepted"]
    line = verdict(node.core, None, node.now).line
    assert why in line
    assert "cfm accept" in line
