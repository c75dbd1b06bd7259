"""What Prometheus reads from cfm: every metric has its help, and the numbers are those of the core."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from prometheus_client.parser import text_string_to_metric_families

from cfm.controller.act.loop import Controller
from cfm.controller.serve.metrics import ControllerMetrics
from cfm.inputs.log_follower import LogFollower
from cfm.reloading import SettingsReading
from controller.node import Node, files


def exposed(node: Node, follower: LogFollower | None = None) -> str:
    """What Prometheus would get."""
    controller = SimpleNamespace(
        core=node.core,
        writer=SimpleNamespace(waiting=3, commit_s=0.25),
        rising=SimpleNamespace(behind_s=1.5),
        deciding_s=0.5,
        settings_read=SettingsReading(node.now.wall_s),
    )
    return ControllerMetrics(cast("Controller", controller), follower, lambda: node.now).expose().decode()


def scraped(node: Node) -> dict[str, dict[tuple[str, ...], float]]:
    """Name → label values → value."""
    page = exposed(node)
    families = list(text_string_to_metric_families(page))
    assert all(family.name.startswith("cfm_") and family.documentation for family in families)
    samples = [sample for family in families for sample in family.samples]
    values: dict[str, dict[tuple[str, ...], float]] = {}
    for sample in samples:
        values.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return values


def test_a_node_at_work() -> None:
    node = Node(files(5), sources=2, destinations=1, transfer_ms=60_000, disk_bytes=1000)
    node.grade()
    node.run(1_000)
    metrics = scraped(node)
    one, other = node.config.sources
    (there,) = node.destinations
    assert metrics["cfm_source_streams"] == {(one,): 1, (other,): 1}
    assert metrics["cfm_disk_size_bytes"][there,] == 1000
    assert metrics["cfm_backlog_files"][()] == 5
    assert metrics["cfm_store_waiting"][()] == 3


def test_what_was_done_is_counted() -> None:
    node = Node(files(3), sources=1, destinations=1, transfer_ms=100, disk_bytes=1000)
    node.grade()
    node.run(20_000)
    metrics = scraped(node)
    assert metrics["cfm_transfers_total"]["done",] == 3
    assert metrics["cfm_transferred_bytes_total"][()] == 300
    assert set(metrics["cfm_source_streams"].values()) == {0}


def test_a_cfm_that_knows_nothing_yet_is_scraped_as_well() -> None:
    node = Node(files(1))
    assert scraped(node)["cfm_metadata_accepted"][()] == 0
