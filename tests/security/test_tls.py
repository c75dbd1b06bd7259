"""Mutual TLS at the real servers: who has no certificate of the node's authority does not get as far as a
request; with TLS alone, the names in a certificate say what its owner may do."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cfm.config.security import TlsSettings
from cfm.model import Addr, Status
from cfm.security import Admission, Keys, Tls, connect_here
from cfm.security.files import read_tls
from cfm.security.roster import WorkerCertificates, worker_roster
from cfm.security.tokens import Secret
from cfm.web import Limits
from cfm.worker.act.base_dir import TempFile
from cfm.worker.act.real_base_dir import RealBaseDir
from cfm.worker.act.transfers.builtin import BuiltinSettings, BuiltinTransfer
from cfm.worker.act.transfers.contract import TransferError
from cfm_lab.testing.controller_rig import DESTINATIONS, ControllerRig, a_task, controller_rig
from cfm_lab.testing.raw_http import connect, hang_up, read_all, request, say, status_of
from cfm_lab.testing.waiting_cfm import usual_offer
from cfm_lab.testing.worker_rig import worker_rig

CERTS = Path(__file__).parent / "certs"
WORKING = b'{"status":"working"}'


def put(folder: Path, name: str, authority: str = "ca") -> dict[str, Path]:
    """Copies with the right mode; git keeps none."""
    files = {"cert_file": f"{name}.crt", "key_file": f"{name}.key", "ca_file": f"{authority}.crt"}
    for file in files.values():
        shutil.copy(CERTS / file, folder)
        (folder / file).chmod(0o600)
    return {key: folder / file for key, file in files.items()}


def tls_of(folder: Path, name: str, authority: str = "ca") -> Tls:
    found = read_tls(TlsSettings(**put(folder, name, authority)))
    assert found is not None
    return found


@pytest.fixture
async def cfm(tmp_path: Path) -> AsyncIterator[ControllerRig]:
    lines = "".join(f"    {key}: {path.name}\n" for key, path in put(tmp_path, "cfm").items())
    tasks = [a_task(1), a_task(2, "B.mpg", DESTINATIONS[1])]
    async with controller_rig(tmp_path, tasks, more_settings=f"security:\n  tls:\n{lines}") as rig:
        yield rig


async def ask(addr: str, context: ssl.SSLContext, data: bytes) -> int:
    """The status of an answer; 0 where there is no connection."""
    host, _, port = addr.rpartition(":")
    try:
        reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
    except OSError:
        return 0
    try:
        writer.write(data)
        return status_of(await read_all(reader))
    except OSError:
        return 0
    finally:
        await hang_up(writer)


@pytest.mark.parametrize(
    ("name", "statuses"),
    [
        ("worker-2", (200, 200, 403, 403)),
        ("worker-1", (200, 403, 403, 403)),
        ("operator", (200, 403, 200, 404)),
        ("cfm", (200, 403, 200, 404)),
        ("reader", (200, 403, 403, 403)),
    ],
)
async def test_a_certificate_s_names_say_what_it_is_good_for(
    cfm: ControllerRig, tmp_path: Path, name: str, statuses: tuple[int, ...]
) -> None:
    client = tls_of(tmp_path, name).client
    asked = [
        await ask(cfm.addr, client, request("GET", "/api/v1/status")),
        await ask(cfm.addr, client, request("PATCH", "/tasks/1", body=WORKING)),
        await ask(cfm.addr, client, request("DELETE", "/tasks/2")),
        await ask(cfm.addr, client, request("POST", "/api/v1/confirm")),
    ]
    assert tuple(asked) == statuses


def nobody(_folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(CERTS / "ca.crt")
    return context


def stranger(folder: Path) -> ssl.SSLContext:
    context = tls_of(folder, "stranger", "strange-ca").client
    context.load_verify_locations(CERTS / "ca.crt")
    return context


def outdated(folder: Path) -> ssl.SSLContext:
    context = tls_of(folder, "worker-2").client
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="deprecated"):
        _only_tls_1_1(context)
    return context


def _only_tls_1_1(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_1
    context.maximum_version = ssl.TLSVersion.TLSv1_1


@pytest.mark.parametrize("who", [nobody, stranger, outdated])
async def test_without_our_certificate_there_is_no_connection(
    cfm: ControllerRig, tmp_path: Path, who: object
) -> None:
    assert callable(who)
    assert await ask(cfm.addr, who(tmp_path), request("PATCH", "/tasks/1", body=WORKING)) == 0
    assert await say(cfm.addr, request("PATCH", "/tasks/1", body=WORKING)) == b""
    assert cfm.status_of(1) is Status.READY


async def test_a_client_of_ours_looks_at_the_server_s_certificate_too(tmp_path: Path) -> None:
    server = Admission(tls=tls_of(tmp_path, "stranger", "strange-ca"))
    async with worker_rig(tmp_path, admission=server) as rig:
        assert await ask(rig.addr, tls_of(tmp_path, "cfm").client, request("GET", "/healthz")) == 0


async def test_a_program_of_this_machine_that_listens_everywhere_is_reached_by_the_loopback(
    tmp_path: Path,
) -> None:
    """No certificate is for the loopback.  By its real address the name is compared as ever."""
    keys = Keys(tls=tls_of(tmp_path, "cfm"))

    def healthz(addr: Addr) -> int:
        connection = connect_here(addr, keys, 5)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status
        finally:
            connection.close()

    async with worker_rig(tmp_path, admission=Admission(tls=tls_of(tmp_path, "worker-2"))) as rig:
        port = rig.addr.rpartition(":")[2]
        for everywhere in (f":{port}", f"0.0.0.0:{port}"):
            assert await asyncio.to_thread(healthz, Addr(everywhere)) == 200
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.to_thread(healthz, Addr(rig.addr))
    async with worker_rig(
        tmp_path, admission=Admission(tls=tls_of(tmp_path, "stranger", "strange-ca"))
    ) as rig:
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.to_thread(healthz, Addr(f":{rig.addr.rpartition(':')[2]}"))


async def test_half_open_handshakes_end_and_disturb_nobody(tmp_path: Path) -> None:
    tls = tls_of(tmp_path, "cfm")
    limits = Limits(head_s=0.3, connections=8)
    async with worker_rig(tmp_path, admission=Admission(tls=tls), limits=limits) as rig:
        silent = [await connect(rig.addr) for _ in range(20)]
        assert await ask(rig.addr, tls.client, request("GET", "/healthz")) == 200
        assert [await read_all(reader) for reader, _ in silent] == [b""] * 20
        for _, writer in silent:
            await hang_up(writer)


# ── between workers ─────────────────────────────────────────────────────────────────────────────────────


class Place:
    def __init__(self, folder: Path) -> None:
        self._disk = RealBaseDir(folder)
        self.path = ""

    def create(self) -> TempFile:
        with self._disk.open() as folder:
            return folder.open_temp("x.1", new=True)

    def reopen(self) -> TempFile:
        raise AssertionError("only external downloads are opened again")

    def has_room_for(self, size_bytes: int) -> bool:
        return size_bytes > 0


class Nobody:
    def moved(self, total_bytes: int) -> None: ...

    def received(self) -> None: ...


CONTENT = bytes(range(256)) * 20_000


async def fetch(addr: str, keys: Keys, folder: Path) -> bytes:
    """What the built-in transfer brings from a worker, by its credentials."""
    transfer = BuiltinTransfer(BuiltinSettings(loopback_ok=True, pauses_s=(), keys=keys))
    folder.mkdir()
    offer = usual_offer(id="7", src_addr=addr, dst_addr="127.0.0.1:8888", size_bytes=len(CONTENT))
    try:
        await transfer.fetch(offer, Place(folder), Nobody())
    finally:
        await transfer.close()
    return next(folder.rglob("x.1")).read_bytes()


@pytest.mark.parametrize(
    ("own", "authority", "token", "comes"),
    [
        ("worker-2", "ca", True, True),
        ("worker-2", "ca", False, False),
        ("stranger", "ca", True, False),
        ("worker-2", "strange-ca", True, False),
    ],
    ids=["all is right", "no token", "not of our authority", "a source of another authority"],
)
async def test_a_worker_copies_from_another(
    tmp_path: Path, own: str, authority: str, token: bool, comes: bool
) -> None:
    """Both sides verify; the token is asked for besides."""
    secret = Secret("correct horse battery staple")
    here, there = (secret.worker(Addr(name)) for name in ("127.0.2.1:8888", "127.0.1.1:8888"))
    admission = Admission(tls_of(tmp_path, "cfm"), worker_roster([there]))
    keys = Keys(here.content if token else None, tls_of(tmp_path, own, authority))
    async with worker_rig(tmp_path, admission=admission) as rig:
        (rig.source / "A.mpg").write_bytes(CONTENT)
        if comes:
            assert await fetch(rig.addr, keys, tmp_path / "there") == CONTENT
        else:
            with pytest.raises(TransferError):
                await fetch(rig.addr, keys, tmp_path / "there")


async def test_a_source_must_be_who_the_task_says(tmp_path: Path) -> None:
    async with worker_rig(tmp_path, admission=Admission(tls_of(tmp_path, "worker-1"))) as rig:
        (rig.source / "A.mpg").write_bytes(CONTENT)
        with pytest.raises(TransferError, match=r"127\.0\.0\.1"):
            await fetch(rig.addr, Keys(None, tls_of(tmp_path, "worker-2")), tmp_path / "there")


async def test_with_tls_alone_a_worker_obeys_who_is_named_like_its_cfm(tmp_path: Path) -> None:
    own = tls_of(tmp_path, "cfm")
    known = WorkerCertificates(own.own_der, Addr("10.0.0.1:8888"), [Addr("127.0.2.1:8080")])
    async with worker_rig(tmp_path, admission=Admission(own, certificates=known)) as rig:
        (rig.base / "A.mpg").write_bytes(CONTENT)
        order = request("DELETE", "/files/A.mpg")
        assert await ask(rig.addr, tls_of(tmp_path, "worker-1").client, order) == 403
        assert (
            await ask(rig.addr, tls_of(tmp_path, "worker-1").client, request("GET", "/content/A.mpg")) == 200
        )
        assert (rig.base / "A.mpg").exists()
        assert await ask(rig.addr, tls_of(tmp_path, "worker-2").client, order) == 200
