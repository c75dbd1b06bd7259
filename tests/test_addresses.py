"""Hosts that stand for every address of the machine."""

from __future__ import annotations

import pytest

from cfm.addresses import is_wildcard, local_host


@pytest.mark.parametrize(("host", "here"), [("", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::", "::1")])
def test_a_wildcard_is_reached_by_loopback(host: str, here: str) -> None:
    assert is_wildcard(host)
    assert local_host(host) == here


@pytest.mark.parametrize("host", ["10.0.0.1", "127.0.0.1", "::1", "cfm.example"])
def test_any_other_host_is_itself(host: str) -> None:
    assert not is_wildcard(host)
    assert local_host(host) == host
