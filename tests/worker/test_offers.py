"""What a worker does not begin with, whoever asks for it."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfm.model import Addr, Status
from cfm.wire import TaskOffer
from cfm.worker.decide.offers import (
    Neighbourhood,
    first_ready,
    ip_objection,
    objection,
    path_objection,
    source_objection,
)

LAN = Neighbourhood(Addr("10.0.2.1:8888"), Addr("10.0.0.1:8080"))
DEMO = Neighbourhood(Addr("127.0.2.1:8888"), Addr("127.0.0.1:8080"))
OFFER = TaskOffer(
    id=7,
    status=Status.READY,
    file_name="A.mpg",
    path="/data2/A.mpg",
    source=Addr("10.0.1.1:8888"),
    destination=LAN.own,
    copy_speed_bps=0,
    size_bytes=1,
)


def test_an_ordinary_task_is_fine() -> None:
    assert objection(OFFER, LAN) is None
    assert objection(replace(OFFER, size_bytes=None), LAN) is None


@pytest.mark.parametrize(
    "source",
    ["10.0.1.1:22", "10.0.1.1:443", "10.0.1.1:8888", "vod-7:80", "vod-7.example.net:18888", "[fd00::1]:8888"],
)
def test_servers_may_be_addresses_or_names(source: str) -> None:
    assert source_objection(source, LAN) is None


@pytest.mark.parametrize(
    "source",
    [
        "169.254.169.254",
        "169.254.169.254:80",
        "[fe80::1]:8888",
        "[::ffff:169.254.169.254]:8888",
        "127.0.0.1:22",
        "127.0.0.1:8888",
        "[::1]:8888",
        "[::ffff:127.0.0.1]:8888",
        "localhost:8888",
        "0.0.0.0:8888",
        "[::]:8888",
        "224.0.0.1:8888",
        "255.255.255.255:8888",
        "x@y",
        "x@10.0.1.1:8888",
        "10.0.1.1:8888@evil:80",
        "10.0.1.1:8888/..",
        "10.0.1.1:8888?x",
        "10.0.1.1:8888#x",
        "10.0.1.1:",
        "10.0.1.1:0",
        "10.0.1.1:65536",
        "10.0.1.1:88a",
        "10.0.1.1:٨٨٨٨",
        "10.0.1.1: 8888",
        " 10.0.1.1:8888",
        "10.0.1.1:8888\n",
        ":8888",
        "-x:8888",
        "2130706433:8888",
        "0x7f000001:8888",
        "127.1:8888",
        "010.0.0.1:8888",
        "vod.0x7f:8888",
        "fd00::1:8888",
        "[fe80::1%eth0]:8888",
        "10.0.0.1:8080",
        "",
    ],
)
def test_what_cannot_be_a_server_is_refused(source: str) -> None:
    assert source_objection(source, LAN) is not None


def test_on_loopback_only_loopback_is_no_objection() -> None:
    assert source_objection("127.0.1.3:18888", DEMO) is None
    assert source_objection("localhost:18888", DEMO) is None
    for source in ("127.0.0.1:22", "169.254.169.254:8888", "127.0.0.1:8080"):
        assert source_objection(source, DEMO) is not None


def test_a_server_of_both_roles_may_copy_from_itself() -> None:
    assert source_objection(LAN.own, LAN) is None


@given(st.ip_addresses())
def test_no_disguise_of_an_address_helps(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if isinstance(ip, ipaddress.IPv4Address):
        mapped = ipaddress.IPv6Address(f"::ffff:{ip}")
        assert ip_objection(mapped, loopback_ok=False) == ip_objection(ip, loopback_ok=False)


@given(st.text(max_size=30))
def test_a_source_that_is_taken_is_an_address(source: str) -> None:
    if source_objection(source, LAN) is None:
        host, _, port = source.rpartition(":")
        assert host
        assert 0 < int(port) < 65536
        assert source.isascii()
        assert not set(source) & set("@/?#\\ \t\r\n")


@pytest.mark.parametrize(
    "path",
    [
        "A.mpg",
        "-rf/A.mpg",
        "/data2/B.mpg",
        "/data2/A.mpg/",
        "/data2/../etc/A.mpg",
        "/data2/\x1b[0m/A.mpg",
        "/data2/\n/A.mpg",
        "/data2/\u202e/A.mpg",
        "/data2/\x00/A.mpg",
        "/" + "x" * 4096 + "/A.mpg",
        "",
    ],
)
def test_only_a_plain_path_to_the_file_reaches_a_command_line(path: str) -> None:
    assert path_objection(path, "A.mpg") is not None


@pytest.mark.parametrize("path", ["/data2/A.mpg", "/A.mpg", "/data 2/é/A.mpg", "//data2/A.mpg", "/-x/A.mpg"])
def test_paths_as_they_are_in_the_field(path: str) -> None:
    assert path_objection(path, "A.mpg") is None


@pytest.mark.parametrize("name", ["../escape.txt", "a/b", ".", "..", "", ".hidden", "a\x00b", "x" * 256])
def test_a_name_is_a_single_component(name: str) -> None:
    assert objection(replace(OFFER, file_name=name, path=f"/data2/{name}"), LAN) is not None


def test_the_first_ready_task_of_ours_in_list_order() -> None:
    tasks = [
        replace(OFFER, id=1, status=Status.WORKING),
        replace(OFFER, id=2, destination=Addr("10.0.2.2:8888")),
        replace(OFFER, id=3),
        replace(OFFER, id=4),
    ]
    assert first_ready(tasks, LAN.own, frozenset()) == tasks[2]
    assert first_ready(tasks, LAN.own, frozenset({3})) == tasks[3]
    assert first_ready(tasks, LAN.own, frozenset({3, 4})) is None
