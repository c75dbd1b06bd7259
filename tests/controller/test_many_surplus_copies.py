"""A thousand files with three copies each: no server is asked for more at a time than it can do."""

from __future__ import annotations

from collections import Counter

from cfm.plan.policies.trims import TRIMS_AT_A_TIME
from controller.node import Node, files


def test_only_so_many_trims_are_under_way_on_a_server() -> None:
    library = files(1_000, size_bytes=1)
    node = Node(library, sources=1, destinations=3, disk_bytes=10_000)
    for addr in node.destinations:
        node.put(addr, *library)
    node.grade()
    most: Counter[str] = Counter()
    for _ in range(40):
        node.run(25)
        most |= Counter(order.server for order in node.core.state.orders.active.values())
    assert max(most.values()) == TRIMS_AT_A_TIME
    assert len(node.deleted) > 3 * TRIMS_AT_A_TIME
    assert all(node.holders(file.name) for file in library)
