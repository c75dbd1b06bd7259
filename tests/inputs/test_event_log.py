"""Lines of the load balancer's log."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfm.inputs.event_log import Hit, Skipped, parse_line, times_in

IP = "125.159.40.3"
LINE = (
    b"0x40ffff,1,1527951607,Server %s Selected for Client StreamID : 609d8714-096a-475e-994c-135deea7177f, "
    b"ClientID : 0, GLB IP : 125.159.40.5's file(%s) Request"
)
SAMPLE = Path(__file__).parents[1] / "data" / "EventLog[20180602].log"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (LINE % (b"125.159.40.3", b"MZ3I5008SGL1500001_K20180602222428.mpg"), True),
        (LINE % (b"125.159.40.39", b"MZ3I5008SGL1500001_K20180602222428.mpg"), False),
        (LINE % (b"25.159.40.3", b"MZ3I5008SGL1500001_K20180602222428.mpg"), False),
        (
            (LINE % (b"125.159.40.3", b"MZ3I5008SGL1500001_K20180602222428.mpg")).replace(
                b" ClientID : 0,", b""
            ),
            True,
        ),
    ],
)
def test_a_hit(line: bytes, expected: bool) -> None:
    stream = b"609d8714-096a-475e-994c-135deea7177f"
    assert parse_line(line, IP) == Hit("MZ3I5008SGL1500001_K20180602222428.mpg", 1527951607, expected, stream)
    assert parse_line(line + b"\r", IP) == parse_line(line, IP)


@pytest.mark.parametrize(
    ("watched", "servers"),
    [
        (r"125\.159\.40\.3", [b"125.159.40.3"]),
        (r"125\.159\.40\.(3|39) Sel", [b"125.159.40.3", b"125.159.40.39"]),
        ("125.159.40.", [b"125.159.40.3", b"125.159.40.39"]),
        ("Server 125.159.40.3 Selected", [b"125.159.40.3"]),
        ("vod-san", [b"vod-san"]),
        ("vod-.*", [b"vod-san", b"vod-san2"]),
        ("GLB", []),  # this stands in a later field
    ],
)
def test_the_watched_server_may_be_a_regular_expression(watched: str, servers: list[bytes]) -> None:
    every = [b"125.159.40.3", b"125.159.40.39", b"25.159.40.3", b"vod-san", b"vod-san2"]
    hits = {server: parse_line(LINE % (server, b"a.mpg"), watched) for server in every}
    assert [server for server, hit in hits.items() if isinstance(hit, Hit) and hit.ours] == servers


@pytest.mark.parametrize("stream", [b"", b" for Client", b" for Client StreamID : , ClientID : 0"])
def test_a_hit_without_a_stream(stream: bytes) -> None:
    line = b"0x40ffff,1,5,Server 1.1.1.1 Selected%s, GLB IP : 1's file(a.mpg) Request" % stream
    assert parse_line(line, IP) == Hit("a.mpg", 5, ours=False)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"", None),
        (b" \r", None),
        (b"0x40ffff,4,1527951609,File Not Found, UUID : 1, GLB IP : 125.159.40.5, NAME.mpg", None),
        (b"0x10ffff,1,2,something else", None),
        (b"0x40ffff,1", Skipped.GARBLED),
        (b",", Skipped.GARBLED),
        (b"Server 125.159.40.3 Selected file(a)", Skipped.GARBLED),
        (b"0x40ffff,1,notatime,Server 125.159.40.3 Selected", Skipped.BAD_TIME),
        (b"0x40ffff,1,1527952010,Server 125.159.40.3 Selected for Cli", Skipped.BAD_NAME),
        (b"0x40ffff,1,1527952010,Server 125.159.40.3 Sel", None),
        (LINE % (b"125.159.40.3", b"a b"), Skipped.BAD_NAME),
        (LINE % (b"125.159.40.3", b"../a"), Skipped.BAD_NAME),
        (LINE % (b"125.159.40.3", b".a"), Skipped.BAD_NAME),
        (LINE % (b"125.159.40.3", b"a" * 256), Skipped.BAD_NAME),
        (LINE % (b"125.159.40.3", b"a") + b"\0", Skipped.NOT_TEXT),
        (LINE % (b"125.159.40.3", b"a") + b"\xff", Skipped.NOT_TEXT),
        (LINE % (b"125.159.40.3", b"a") + b"x" * 70_000, Skipped.TOO_LONG),
    ],
)
def test_no_hit(line: bytes, expected: Skipped | None) -> None:
    assert parse_line(line, IP) is expected


@given(st.binary(max_size=60), st.integers(0, 160))
def test_garbage_never_raises(garbage: bytes, at: int) -> None:
    line = LINE % (b"125.159.40.3", b"a.mpg")
    for made in (garbage, line[:at] + garbage, line[:at] + garbage + line[at:], b"0x40ffff," + garbage):
        parsed = parse_line(made.replace(b"\n", b""), IP)
        assert parsed is None or isinstance(parsed, Hit | Skipped)


def test_times_of_a_block() -> None:
    assert list(times_in(SAMPLE.read_bytes()[30:]))[:2] == [1527951608, 1527951609]
