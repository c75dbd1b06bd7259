"""What is fuzzed: each parser of bytes from outside, with what must hold of whatever it says.

A target takes any bytes and raises only where the parser broke its word.  `run.py` feeds them for as long as
one likes, `test_corpus.py` for a moment; `corpus/NAME/` holds the inputs from which both begin.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cfm import wire
from cfm.config import SettingsFileError, load_cfm, load_cfw
from cfm.fleet.answers import parse_df, parse_listing
from cfm.inputs import reference
from cfm.inputs.event_log import Hit, parse_line, times_in
from cfm.inputs.grade_file import read_grade_file
from cfm.inputs.hit_history import read_hit_history
from cfm.inputs.hit_window import HitWindow
from cfm.model import Failure, Now
from cfm.names import is_file_name
from cfm.security.tokens import TokenError, parse_holding
from cfm.web.paths import name_in
from cfm.worker.decide.ranges import part_wanted

CORPUS: Final = Path(__file__).parent / "corpus"
OUR_IP = "125.159.40.3"
NOON_S = 1_527_951_609
_SCRATCH = Path(tempfile.gettempdir())


@dataclass(frozen=True, slots=True)
class Target:
    run: Callable[[bytes], None]
    words: tuple[bytes, ...]
    """What the format is made of, for a fuzzer that would take long to find it."""


def pieces(data: bytes) -> list[bytes]:
    """As it may be read: cut where the input itself says."""
    at = data[0] % (len(data) + 1) if data else 0
    return [data[:at], data[at:]]


def grade(data: bytes) -> None:
    """Columns and plain Python read the same."""
    fast, plain = read_grade_file(pieces(data)), reference.read_grade_file(data)
    assert fast.frame.rows() == [(row.rank, row.name) for row in plain.graded]
    assert (fast.has_header, fast.torn, fast.skipped) == (plain.has_header, plain.torn, plain.skipped)
    assert all(is_file_name(row.name) for row in plain.graded)


def history(data: bytes) -> None:
    """Columns and plain Python read the same; sizes are positive and fit 64 bits."""
    fast, plain = read_hit_history(pieces(data)), reference.read_hit_history(data)
    rows = {name: (size, hits, tuple(ips)) for name, size, hits, ips in fast.frame.rows()}
    assert rows == {name: (it.size_bytes, it.hits, it.ips) for name, it in plain.history.items()}
    assert (fast.has_header, fast.torn, fast.skipped) == (plain.has_header, plain.torn, plain.skipped)
    assert all(0 < size < 2**63 and 0 <= hits < 2**63 for size, hits, _ in rows.values())


def log(data: bytes) -> None:
    """What counts as a hit can be acted on, and a window never counts more than it was given."""
    window, now = HitWindow(600, 1, Now(0, 1000 * NOON_S)), Now(1, 1000 * NOON_S)
    given = 0
    for line in data.split(b"\n"):
        found = parse_line(line, OUR_IP)
        if isinstance(found, Hit):
            assert is_file_name(found.name)
            assert not found.ours or f"Server {OUR_IP} Selected".encode() in line
            given += window.add(found, now) is None
    hits = window.hits(now)
    assert sum(hits.rising.values()) <= given
    assert all(time >= 0 for time in times_in(data))


def settings(data: bytes) -> None:
    """Settings, or refusals that can be shown and whose lines are in the file."""
    path = _SCRATCH / f"fuzzed-{id(data):x}.yml"
    path.write_bytes(data)
    try:
        for load in (load_cfm, load_cfw):
            refused = _refusal_of(load, path)
            if refused is not None:
                assert refused.problems
                assert all(line.isprintable() for line in str(refused).splitlines())
                lines = [problem.line for problem in refused.problems if problem.line is not None]
                assert all(1 <= line <= len(data.splitlines()) + 1 for line in lines)
    finally:
        path.unlink()


def _refusal_of(load: Callable[[Path], object], path: Path) -> SettingsFileError | None:
    try:
        load(path)
    except SettingsFileError as refused:
        return refused
    return None


def files(data: bytes) -> None:
    """A list holds names, and none where it was cut."""
    found = parse_listing(data)
    if isinstance(found, Failure):
        assert data
        assert not data.endswith(b"\n")
        return
    assert all(is_file_name(name) for name in found.names)
    assert len(found.names) + found.odd_lines <= data.count(b"\n")


def df(data: bytes) -> None:
    """Numbers that can be reckoned with."""
    found = parse_df(data)
    if isinstance(found, Failure):
        assert found.detail.isprintable()
        return
    usage = found.usage
    assert 0 <= usage.used_bytes <= usage.used_bytes + usage.avail_bytes <= usage.total_bytes < 2**63
    assert 0 <= usage.used_percent <= 100
    assert found.limit_percent is None or 1 <= found.limit_percent <= 100


def patch(data: bytes) -> None:
    """A report is read again as it was read."""
    try:
        report = wire.parse_report(data)
    except wire.WireError:
        return
    assert wire.parse_report(wire.to_json(wire.report_to_json(report))) == report
    assert report.done_bytes is None or 0 <= report.done_bytes < 2**63


def ranges(data: bytes) -> None:
    """A part lies within the file; a whole is whole.  Input: size, NUL, Range, NUL, If-Range."""
    size_text, _, rest = data.decode("latin-1").partition("\0")
    asked, has_condition, condition = rest.partition("\0")
    size_bytes = int(size_text) if re.fullmatch("[0-9]{1,18}", size_text) else 100
    part = part_wanted(asked, condition if has_condition else None, '"1-2-3"', size_bytes)
    if part is not None:
        assert 0 <= part.start <= part.stop <= size_bytes
        assert part.partial or (part.start, part.stop) == (0, size_bytes)


def paths(data: bytes) -> None:
    """Whatever is read from a path is one plain name."""
    try:
        name = name_in("/files/" + data.decode("utf-8", "surrogateescape"), "/files/")
    except ValueError:
        return
    assert is_file_name(name)


def tokens(data: bytes) -> None:
    """A line of a token file is one of ours, or refused without being repeated."""
    line, said = data.decode("latin-1"), ""
    try:
        parse_holding(line)
    except TokenError as refused:
        said = str(refused)
    assert len(line) < 8 or line not in said


TARGETS: Final[Mapping[str, Target]] = {
    "grade": Target(grade, (b"filename\tweightcount\n", b"\t", b"\r\n", b"\xef\xbb\xbf", b".mpg", b"\0")),
    "history": Target(history, (b"historyheader:1\n", b",", b"=", b" ", b"\r\n", b"9223372036854775807")),
    "log": Target(
        log,
        (
            b"0x40ffff,1,1527951607,",
            b"Server 125.159.40.3 Selected",
            b" for Client StreamID : 609d8714, ClientID : 0, ",
            b"GLB IP : 125.159.40.5's ",
            b"file(A.mpg) Request",
        ),
    ),
    "settings": Target(
        settings,
        (
            b"listen_addr: 127.0.2.1:8888\ncfm_addr: 127.0.0.1:8080\nbase_dir: data\n",
            b"servers:\n  destinations:\n    - 127.0.2.1:8888\n",
            b"security:\n  tls:\n    cert_file: a\n",
            b"remover:\n  storage_usage_limit_percent: ",
            b"!!python/object",
            b"&a [*a]",
            b"? ",
            b"- ",
            b": ",
            b"'",
            b"|\n",
            b"\n---\n",
        ),
    ),
    "files": Target(files, (b".mpg\n", b"\n", b"\xe2\x80\xae", b"\0", b"/", b"..")),
    "df": Target(
        df,
        (b'{"total_size":"', b'","used_size":"', b'","avail_size":"', b'","used_percent":', b"NaN", b"1e999"),
    ),
    "patch": Target(
        patch,
        (b'{"status":"working"', b'"done"', b'"timeout"', b',"bytes":', b',"error":"', b"true", b"NaN", b"}"),
    ),
    "ranges": Target(ranges, (b"100\0bytes=", b"-", b",", b'\0"1-2-3"', b"9" * 30)),
    "paths": Target(paths, (b"%2f", b"%2e%2e", b"%00", b"%25", b"%", b"?", b"#", b"%e2%80%ae")),
    "tokens": Target(tokens, (b"worker:", b"operator:", b"reader:", b"0" * 64, b"127.0.2.1:8888:")),
}
