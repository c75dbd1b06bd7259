"""The fault proxy does to a connection what it says, and nothing to the others."""

from __future__ import annotations

import contextlib
import gc
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cfm_lab.testing.fault_proxy import Effect, FaultProxy, ProxyFault, Way, fault_of, lost_answer

PATIENCE_S = 10.0


class Echo:
    """A server that answers each piece with the same in capitals, and keeps what it heard."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.addr = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.heard: list[bytes] = []
        self.arrived = threading.Condition()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection:
            try:
                while piece := connection.recv(65_536):
                    with self.arrived:
                        self.heard.append(piece)
                        self.arrived.notify_all()
                    connection.sendall(piece.upper())
            except OSError:
                return

    def hears(self, number: int) -> bool:
        with self.arrived:
            return self.arrived.wait_for(lambda: len(self.heard) >= number, PATIENCE_S)


@pytest.fixture
def echo() -> Iterator[Echo]:
    echo = Echo()
    yield echo
    echo.listener.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[FaultProxy]:
    with FaultProxy(echo.addr) as proxy:
        yield proxy


@contextmanager
def connected(proxy: FaultProxy) -> Iterator[socket.socket]:
    host, _, port = proxy.addr.rpartition(":")
    with socket.create_connection((host, int(port)), PATIENCE_S) as connection:
        yield connection


def says(connection: socket.socket, text: bytes, expected_bytes: int) -> bytes:
    connection.sendall(text)
    got = b""
    while len(got) < expected_bytes and (piece := connection.recv(65_536)):
        got += piece
    return got


def test_nothing_happens_without_a_fault(proxy: FaultProxy) -> None:
    with connected(proxy) as connection:
        assert says(connection, b"get x\r\n", 7) == b"GET X\r\n"
        assert says(connection, b"get y\r\n", 7) == b"GET Y\r\n"
    assert proxy.count(b"get ") == 2
    assert proxy.struck == 0


def test_an_answer_is_lost_after_the_request_was_delivered(proxy: FaultProxy, echo: Echo) -> None:
    proxy.set(lost_answer(b"delete", times=1))
    with connected(proxy) as connection, pytest.raises(ConnectionResetError):
        says(connection, b"delete x", 8)
    assert echo.heard == [b"delete x"]
    with connected(proxy) as connection:
        assert says(connection, b"delete y", 8) == b"DELETE Y"
    assert proxy.struck == 1


def test_only_what_is_meant_is_struck(proxy: FaultProxy) -> None:
    proxy.set(lost_answer(b"delete"))
    with connected(proxy) as connection:
        assert says(connection, b"list", 4) == b"LIST"


def test_a_connection_ends_politely_after_some_bytes(proxy: FaultProxy) -> None:
    proxy.set(ProxyFault(Effect.CUT, after_bytes=3))
    with connected(proxy) as connection:
        assert says(connection, b"abcdef", 6) == b"ABC"


def test_a_request_never_arrives_whole(proxy: FaultProxy, echo: Echo) -> None:
    proxy.set(ProxyFault(Effect.RESET, Way.TO_SERVER, after_bytes=2))
    with connected(proxy) as connection, contextlib.suppress(ConnectionResetError):
        assert says(connection, b"abcdef", 6) in (b"", b"AB")
    assert b"".join(echo.heard) in (b"", b"ab")


def test_a_hole_swallows_until_it_is_cleared(proxy: FaultProxy, echo: Echo) -> None:
    proxy.set(ProxyFault(Effect.HOLE))
    with connected(proxy) as connection:
        connection.sendall(b"abc")
        assert echo.hears(1)
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        proxy.clear()
        connection.settimeout(PATIENCE_S)
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with connected(proxy) as connection:
        assert says(connection, b"abc", 3) == b"ABC"


def test_one_bit_is_another(proxy: FaultProxy) -> None:
    proxy.set(ProxyFault(Effect.CORRUPT, after_bytes=1))
    with connected(proxy) as connection:
        assert says(connection, b"abc", 3) == b"ACC"


def test_a_header_lies(proxy: FaultProxy) -> None:
    proxy.set(ProxyFault(Effect.REPLACE, find=b"LENGTH: 3", put=b"LENGTH: 2"))
    with connected(proxy) as connection:
        assert says(connection, b"length: 3", 9) == b"LENGTH: 2"


def test_pieces_are_late_and_slow(proxy: FaultProxy) -> None:
    for fault in (ProxyFault(Effect.DELAY, seconds=0.01), ProxyFault(Effect.TRICKLE, seconds=0.001)):
        proxy.set(fault)
        with connected(proxy) as connection:
            assert says(connection, b"abc", 3) == b"ABC"


def test_a_request_arrives_twice(proxy: FaultProxy, echo: Echo) -> None:
    proxy.set(ProxyFault(Effect.REPEAT, Way.TO_SERVER))
    with connected(proxy) as connection:
        assert says(connection, b"abc", 3) == b"ABC"
        assert echo.hears(2)
    assert echo.heard == [b"abc", b"abc"]


def test_open_connections_are_forgotten_and_new_ones_work(proxy: FaultProxy) -> None:
    with connected(proxy) as old, connected(proxy) as new:
        assert says(old, b"a", 1) == b"A"
        proxy.forget_open()
        old.sendall(b"b")
        old.settimeout(0.1)
        with pytest.raises(TimeoutError):
            old.recv(1)
        new.close()
        with connected(proxy) as fresh:
            assert says(fresh, b"c", 1) == b"C"


def test_it_refuses_and_listens_again_at_the_same_address(proxy: FaultProxy) -> None:
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError), connected(proxy):
        pass
    proxy.clear()
    with connected(proxy) as connection:
        assert says(connection, b"a", 1) == b"A"


def test_what_connects_while_it_ends_ends_too(echo: Echo) -> None:
    """Nothing is left open, at whatever moment of a connection's beginning it is closed."""
    for _ in range(50):
        with FaultProxy(echo.addr) as proxy:
            host, _, port = proxy.addr.rpartition(":")
            clients = [socket.create_connection((host, int(port)), PATIENCE_S) for _ in range(3)]
        for client in clients:
            client.close()
    gc.collect()  # what is left open warns now, and warnings are errors


def test_faults_as_json() -> None:
    line = json.loads('{"effect": "hole", "way": "both", "when": "GET ", "times": 2}')
    assert fault_of(line) == ProxyFault(Effect.HOLE, Way.BOTH, b"GET ", times=2)


def test_as_a_program(echo: Echo) -> None:
    program = [sys.executable, "-m", "cfm_lab.testing.fault_proxy", "127.0.0.1:0", echo.addr]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        addr = running.stdout.readline().split()[-1]
        running.stdin.write('[{"effect": "cut", "after_bytes": 1}]\n')
        running.stdin.flush()
        assert running.stdout.readline() == "struck 0\n"
        host, _, port = addr.rpartition(":")
        with socket.create_connection((host, int(port)), PATIENCE_S) as connection:
            assert says(connection, b"abc", 3) == b"A"
        running.stdin.close()
        assert running.wait(PATIENCE_S) == 0
