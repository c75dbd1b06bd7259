"""Nodes in which something is so: each is a short story that tests about explaining look at."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cfm.controller.decide import events as ev
from cfm.model import SnapshotFacts
from cfm.plan.view import Rules
from controller.node import OLD, Node, files

SECOND_MS = 1000


def full_disk(**rules: Any) -> Node:
    """One destination with 1000 of 1000 bytes used."""
    library = files(10)
    node = Node(library, destinations=1, disk_bytes=1000, rules=Rules(**rules))
    node.put(node.destinations[0], *library)
    return node


def unread() -> Node:
    return Node(files(2))


def rejected() -> Node:
    node = Node(files(2))
    facts = SnapshotFacts("x", node.now.wall_s, 2, 0, {}, accepted=False, why="the history is empty")
    node.send(ev.SnapshotRejected(facts))
    return node


def newest_rejected() -> Node:
    node = Node(files(2))
    node.grade()
    facts = SnapshotFacts("x", node.now.wall_s, 2, 0, {}, accepted=False, why="the history is empty")
    node.send(ev.SnapshotRejected(facts))
    return node


def store_full() -> Node:
    node = Node(files(2))
    node.grade()
    node.send(ev.StoreTrouble("no space left on device"))
    return node


def copying() -> Node:
    node = Node(files(5), sources=2, transfer_ms=60_000)
    node.grade()
    return node


def at_rest() -> Node:
    node = Node(files(2))
    node.grade()
    node.run(30 * SECOND_MS)
    return node


def no_source() -> Node:
    node = Node(files(3), sources=1)
    node.kill(node.sources[0])
    node.grade()
    return node


def no_destination() -> Node:
    node = Node(files(3), destinations=1)
    node.workers[node.destinations[0]].measures = False
    node.grade()
    return node


def san_silent() -> Node:
    node = Node(files(3))
    node.san_answers = False
    node.grade()
    return node


def failing() -> Node:
    node = Node(files(1), destinations=1)
    node.workers[node.destinations[0]].fails.add("F001.mpg")
    node.grade()
    return node


def breaker() -> Node:
    node = full_disk(limit_percent=50)
    node.grade()
    return node


def old_metadata() -> Node:
    node = full_disk()
    node.grade(age_s=3 * 86_400)
    return node


def deletes_off() -> Node:
    node = full_disk(deletes_on=False)
    node.grade()
    return node


def same_disk() -> Node:
    library = files(4)
    node = Node(library, features=OLD, disk_bytes=4000)
    for addr in node.destinations:
        node.put(addr, *library)
    node.grade()
    return node


def all_rise() -> Node:
    node = full_disk()
    node.watch(**{file.name.replace(".", "__"): 9 for file in node.library})
    node.grade()
    return node


def too_large() -> Node:
    """One file is larger than what any disk could make free, though it is the best."""
    best, *small = files(11)
    node = Node([replace(best, size_bytes=950), *small], destinations=1, disk_bytes=1000)
    node.put(node.destinations[0], *small[:9])
    node.grade()
    return node


def fits_nowhere() -> Node:
    library = files(10)
    node = Node(library, destinations=1, disk_bytes=1000)
    node.put(node.destinations[0], *library[:9])
    node.grade()
    return node
