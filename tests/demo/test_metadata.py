"""What the demo writes is what cfm reads: its own readers understand every line."""

from __future__ import annotations

from pathlib import Path

from cfm.demo.library import Taste, make_library
from cfm.demo.metadata import EventLog, View, grade_text, history_text, replace
from cfm.inputs.event_log import Hit, parse_line
from cfm.inputs.snapshot import Snapshot
from cfm.inputs.watching import look_once
from cfm.model import Now

LIBRARY = make_library(1, 30, 2)


def test_grade_and_history_are_a_pair_without_a_bad_line(tmp_path: Path) -> None:
    taste, name = Taste(LIBRARY), LIBRARY.titles[4].name
    grade, history = tmp_path / ".grade.info", tmp_path / ".hitcount.history"
    replace(grade, grade_text(LIBRARY, taste))
    replace(history, history_text(LIBRARY, taste, {name: ["127.0.2.1", "127.0.2.2"]}, 1_700_000_000))
    written_ms = grade.stat().st_mtime_ns // 1_000_000
    snapshot = look_once(grade, history, Now(0, written_ms + 60_000))
    assert isinstance(snapshot, Snapshot)
    assert snapshot.facts.known_files == snapshot.facts.graded_files == 32
    assert not snapshot.facts.skipped_lines
    file = snapshot.file(name)
    assert file is not None
    assert (file.rank, file.size_bytes) == (taste.rank(name), LIBRARY.titles[4].size_bytes)
    assert file.history_ips == ("127.0.2.1", "127.0.2.2")
    assert file.hits == taste.hits(file.rank)
    assert not list(tmp_path.glob("*.new"))


def test_a_view_is_a_hit_where_the_load_balancer_sent_it(tmp_path: Path) -> None:
    log = EventLog(tmp_path, seed=1)
    log.begin(1_700_000_000)
    log.append([View("a_K1.mpg", "127.0.0.9"), View("b.mpg", "127.0.2.1")], 1_700_000_000.7)
    log.append([], 1_700_000_000)
    (path,) = tmp_path.iterdir()
    assert path == log.path(1_700_000_000)
    assert path.name.startswith("EventLog[2023111")
    first, second = (parse_line(line, "127.0.0.9") for line in path.read_bytes().splitlines())
    assert isinstance(first, Hit)
    assert isinstance(second, Hit)
    assert first == Hit("a_K1.mpg", 1_700_000_000, ours=True, stream=first.stream)
    assert second == Hit("b.mpg", 1_700_000_000, ours=False, stream=second.stream)
    assert first.stream != second.stream
