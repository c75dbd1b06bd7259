"""The drill with real processes: each fault is told by status, readiness, metrics, page and log, and ends.

`tests/controller/test_drill.py` has many more faults in virtual time, and their words.  Here the causes come
from real workers, disks and files.
"""

from __future__ import annotations

import html
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
import yaml

from cfm_lab.testing.cluster import Cluster
from e2e.test_security import guard
from faults.story import QUICK

LOOK_S, SAN_S, ASKS_S = 3.0, 6.0, 90.0
"""After so long cfm looks again at servers, at source folders, and at who asked for work."""
SOON_S: Final = 5.0
OTHER_IP: Final = "125.159.40.39"


class Fault(NamedTuple):
    """How it is broken and mended, after how many seconds cfm can know it, and how it must be told."""

    breaks: Callable[[Cluster], object]
    mends: Callable[[Cluster], object]
    knows_after_s: float
    condition: str
    words: str


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path, sources=1, destinations=2, files=10, cfm_keys=QUICK) as cluster:
        cluster.hit(cluster.ranks[0], 1, OTHER_IP)
        cluster.start()
        is_well(cluster)
        yield cluster


def is_well(node: Cluster) -> None:
    """Healthy: everything is green, and there is no condition."""
    node.wait_for(lambda: node.status()["health"] == "ok" and not node.conditions(), "no condition", 60)
    assert node.ask("/readyz")[0] == 200


def move(path: Path, to: str) -> None:
    path.rename(path.with_name(to))


def settings(node: Cluster, keys: dict[str, Any]) -> None:
    """Other settings, and SIGHUP."""
    node.change(node.cfm, keys)
    node.cfm.send(signal.SIGHUP)


def restarted(node: Cluster, addr: str, keys: dict[str, Any]) -> None:
    worker = node.workers[addr]
    worker.stop()
    node.change(worker, keys)
    node.restart(worker)


def log_file(node: Cluster) -> Path:
    return node.root / f"EventLog[{time.strftime('%Y%m%d')}].log"


FAULTS: Final = {
    "a worker was killed": Fault(
        lambda node: node.worker("127.0.2.1").kill(),
        lambda node: node.restart(node.worker("127.0.2.1")),
        LOOK_S,
        "server_down",
        "Server 127.0.2.1 is down: Connection refused",
    ),
    "base_dir is gone": Fault(
        lambda node: move(node.shelf(node.destination_addrs[0]), "gone"),
        lambda node: move(node.shelf(node.destination_addrs[0]).with_name("gone"), "data"),
        LOOK_S,
        "list_unknown",
        "The file list is unknown at 127.0.2.1: answered 500: ",
    ),
    "the SAN is not mounted": Fault(
        lambda node: move(node.san, "unmounted"),
        lambda node: move(node.san.with_name("unmounted"), "san"),
        SAN_S,
        "source_folders_unknown",
        "san is missing",
    ),
    "the grade file is broken": Fault(
        lambda node: node.replace("grade.info", "\n"),
        lambda node: node.write_metadata(),
        LOOK_S,
        "metadata_rejected",
        "The newest grade and history files are rejected: ",
    ),
    "a foreign file fills a disk": Fault(
        lambda node: (node.shelf(node.destination_addrs[0]) / "HOLIDAY.iso").write_bytes(bytes(300_000)),
        lambda node: (node.shelf(node.destination_addrs[0]) / "HOLIDAY.iso").unlink(),
        LOOK_S + SOON_S,
        "foreign_files",
        "300 kB of 1.0 MB at 127.0.2.1 are taken by data that is not in the grade and history files",
    ),
    "the limit is mistyped": Fault(
        lambda node: settings(node, {"remover": {"storage_usage_limit_percent": 9}}),
        lambda node: settings(node, {"remover": {"storage_usage_limit_percent": 90}}),
        LOOK_S,
        "breaker",
        "the limit of 9 % would delete ",
    ),
    "a reload is refused": Fault(
        lambda node: settings(node, {"remover": {"storage_usage_limit_percent": 101}}),
        lambda node: settings(node, {"remover": {"storage_usage_limit_percent": 90}}),
        LOOK_S,
        "settings_refused",
        "The changed settings are refused, and the old ones stay in force: ",
    ),
    "the event log is gone": Fault(
        lambda node: move(log_file(node), "kept"),
        lambda node: move(log_file(node).with_name("kept"), log_file(node).name),
        31,
        "event_log_gone",
        "The event log is gone",
    ),
    "a worker asks another cfm": Fault(
        lambda node: restarted(node, node.destination_addrs[0], {"cfm_addr": "127.0.9.9:9"}),
        lambda node: restarted(node, node.destination_addrs[0], {"cfm_addr": node.cfm_addr}),
        ASKS_S,
        "not_asking",
        "No cfw asks for work at 127.0.2.1",
    ),
}


def test_each_fault_is_told_everywhere_and_ends(node: Cluster) -> None:
    table = [f"{name}: told after {drill(node, fault):.1f} s" for name, fault in FAULTS.items()]
    print("\n".join(table))


def drill(node: Cluster, fault: Fault) -> float:
    """How long it took until it was told."""
    fault.breaks(node)
    began_s = time.monotonic()
    node.wait_for(lambda: fault.condition in node.conditions(), fault.condition, fault.knows_after_s + SOON_S)
    took_s = time.monotonic() - began_s
    status = node.status()
    told = {one["name"]: one for one in status["conditions"]}[fault.condition]
    assert fault.words in told["text"]
    assert status["health"] in ("degraded", "critical")
    answer, body = node.ask("/readyz")
    assert (answer, fault.condition in body.decode()) == (503, True)
    series = f'cfm_condition{{level="{told["level"]}",name="{fault.condition}"}} 1.0'
    assert series in node.ask("/metrics")[1].decode()
    page = html.unescape(node.ask("/")[1].decode())
    assert fault.words in page
    node.wait_for(lambda: _begins(node, fault.condition), "the log to tell it", SOON_S)
    fault.mends(node)
    is_well(node)
    return took_s


def _begins(node: Cluster, condition: str) -> bool:
    lines = node.cfm.output().splitlines()
    return any("condition begins" in line and f"condition={condition}" in line for line in lines)


def test_cfm_starts_with_a_wrong_source_folder(node: Cluster) -> None:
    """Everything else is in order, so nothing else would tell it."""
    node.cfm.stop()
    other = node.root / "other"
    other.mkdir()
    (other / "OTHER.mpg").write_bytes(b"something else")
    node.change(node.cfm, {"source_dirs": [str(other)]})
    node.restart(node.cfm)
    node.wait_for(lambda: "san_coverage" in node.conditions(), "the coverage to be told", SOON_S)
    status = node.status()
    assert status["health"] == "critical"
    assert status["verdict"].startswith("0 of 10 graded files are on the SAN: is `source_dirs` right?")
    assert node.ask("/readyz")[0] == 503


@pytest.mark.parametrize("lost", ["token_file", "tls"])
def test_a_worker_without_its_credentials_is_told(tmp_path: Path, lost: str) -> None:
    with Cluster(tmp_path, sources=1, destinations=1, files=4, cfm_keys=QUICK) as cluster:
        guard(cluster)
        path = cluster.workers[cluster.destination_addrs[0]].folder / "cfw.yml"
        settings_ = yaml.safe_load(path.read_text())
        del settings_["security"][lost]
        path.write_text(yaml.safe_dump(settings_))
        cluster.start()

        def is_told() -> bool:
            told = cluster.run_json("status")
            return told["health"] == "degraded" and "no_credentials" in [
                one["name"] for one in told["conditions"]
            ]

        cluster.wait_for(is_told, "the missing credentials to be told", 30)
