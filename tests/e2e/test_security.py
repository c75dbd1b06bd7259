"""A node of real processes with tokens and mutual TLS: it does its work, and strangers get nowhere."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from cfm.model import Addr
from cfm.security.tokens import PersonPass, Secret
from cfm_lab.testing.cluster import Cluster
from cfm_lab.testing.processes import Daemon

pytestmark = pytest.mark.e2e
CERTS = Path(__file__).parent.parent / "security" / "certs"
TEXT = "correct horse battery staple"
SECRET = Secret(TEXT)


def files_for(daemon: Daemon, held: str, certificate: str) -> dict[str, Any]:
    """The credentials that a machine holds, and what its settings say of them."""
    (daemon.folder / "token").write_text(held)
    names = {"cert_file": f"{certificate}.crt", "key_file": f"{certificate}.key", "ca_file": "ca.crt"}
    for name in names.values():
        shutil.copy(CERTS / name, daemon.folder)
    for name in ("token", names["key_file"]):
        (daemon.folder / name).chmod(0o600)
    return {"security": {"token_file": "token", "tls": names}}


def guard(cluster: Cluster) -> None:
    for addr, certificate in zip(cluster.workers, ("worker-1", "worker-2"), strict=True):
        worker = cluster.workers[addr]
        cluster.change(worker, files_for(worker, SECRET.worker(Addr(addr)).text, certificate))
    cluster.change(cluster.cfm, files_for(cluster.cfm, TEXT, "cfm"))


def test_a_guarded_node_does_its_work(tmp_path: Path) -> None:
    with Cluster(tmp_path, sources=1, destinations=1, files=4) as cluster:
        guard(cluster)
        cluster.start()
        [destination] = cluster.destination_addrs
        cluster.wait_for(lambda: len(cluster.visible(destination)) == 4, "all files to arrive")
        assert "servers." not in cluster.run("cfm", "check").stdout, "workers are heard"
        status = cluster.run_json("status")
        assert (status["credentials"], status["notes"]) == (["token", "tls"], [])
        assert {server["state"] for server in status["servers"]} == {"up"}
        strangers_get_nowhere(cluster, destination)
        readers_only_look(cluster)
        worker = cluster.workers[destination]
        released = cluster.run("cfw", "release", "-c", str(worker.folder / "cfw.yml"))
        assert "released from the controller" in released.stdout
        assert "can delete files" not in cluster.cfm.output() + worker.output()


def strangers_get_nowhere(cluster: Cluster, destination: str) -> None:
    """Without TLS, without a certificate, and with one but without a token."""
    host, _, port = destination.rpartition(":")
    name = min(cluster.visible(destination))
    order = f"DELETE /files/{name} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    context = ssl.create_default_context(cafile=str(CERTS / "ca.crt"))
    with socket.create_connection((host, int(port)), timeout=5) as plain:
        plain.sendall(order)
        assert plain.recv(100) == b""
    with socket.create_connection((host, int(port)), timeout=5) as plain:
        assert answer(context.wrap_socket(plain, server_hostname=host), order) == b""
    context.load_cert_chain(CERTS / "cfm.crt", CERTS / "cfm.key")
    with socket.create_connection((host, int(port)), timeout=5) as plain:
        assert b" 401 " in answer(context.wrap_socket(plain, server_hostname=host), order)
    assert name in cluster.visible(destination)


def answer(connection: ssl.SSLSocket, order: bytes) -> bytes:
    """What comes first; nothing where the other side hangs up.  (In TLS 1.3 a client hears of that late.)"""
    with connection, contextlib.suppress(ssl.SSLError, ConnectionError):
        connection.sendall(order)
        return connection.recv(100)
    return b""


def readers_only_look(cluster: Cluster) -> None:
    """A reader's machine: its own pass, and the same command line."""
    held = PersonPass("reader", SECRET.reader).text
    (cluster.cfm.folder / "token").write_text(held)
    assert cluster.run("cfm", "status").returncode == 0
    refused = cluster.run("cfm", "reload")
    assert refused.returncode == 1
    assert "do not allow this" in refused.stderr
