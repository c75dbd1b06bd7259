"""A PostgreSQL server of one's own, for the demo and for tests: in a folder of its own, on loopback.

It does not run as root: as root it is started as the user `postgres` or `nobody`.  It is ended by its process
id, gently or by SIGKILL, and can be started again on the same data.  It ends with whoever started it.
Neighbours: `play` has one where there are several cfm; `tests/postgres_bench.py` has one for tests.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from cfm.errors import CfmError

HOST: Final = "127.0.0.1"
_PLACES: Final = "/usr/lib/postgresql"
_PAUSE_S: Final = 0.02
PATIENCE_S: Final = 30.0


def find_postgres() -> Path | None:
    """The folder with `initdb` and `postgres` of the newest version that is installed."""
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else []
    versions = sorted(Path(_PLACES).glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]), reverse=True)
    places += [path.parent for path in versions]
    return next((place for place in places if (place / "postgres").exists()), None)


class PostgresServer:
    """A server with an empty database `cfm`, which belongs to the user `cfm`.  `with` starts and ends it."""

    def __init__(self, programs: Path, *, durable: bool = False, folder: Path | None = None) -> None:
        """Without `durable` it does not wait for its disk, so that only `kill -9` of itself is survived."""
        self._programs = programs
        self._durable = durable
        self._user = _user()
        self.folder = Path(tempfile.mkdtemp(prefix="cfm-postgres-", dir=folder))
        if self._user is not None:
            os.chown(self.folder, pwd.getpwnam(self._user).pw_uid, -1)
        self._data = self.folder / "data"
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, port: int | None = None) -> str:
        return f"postgresql://cfm@{HOST}:{port or self.port}/cfm"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        try:
            self._run("initdb", "-D", str(self._data), "-U", "cfm", "-A", "trust", "-E", "UTF8", "--no-sync",
                      "--locale=C")  # fmt: skip
            self.start()
            self._run("createdb", "-h", HOST, "-p", str(self.port), "-U", "cfm", "cfm")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        fsync = "on" if self._durable else "off"
        options = {
            "listen_addresses": HOST,
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": fsync,
            "full_page_writes": fsync,
            "max_connections": "50",
            "shared_buffers": "16MB",
        }
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "cfm.demo.die_with_parent", "--signal", str(int(signal.SIGQUIT))),
                    *(("--user", self._user) if self._user is not None else ()),
                    *(str(os.getpid()), str(self._programs / "postgres")),
                    *("-D", str(self._data)),
                    *(f"--{key}={value}" for key, value in options.items()),
                ],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
            )
        ends_s = time.monotonic() + PATIENCE_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > ends_s:
                raise CfmError(f"PostgreSQL does not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(_PAUSE_S)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it by a signal: SIGINT is a fast stop, SIGQUIT a faster one, SIGKILL a crash."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        if how is signal.SIGKILL:
            os.killpg(process.pid, signal.SIGKILL)  # its group is its own: no child may outlive it
        else:
            process.send_signal(how)
        process.wait(PATIENCE_S)

    def _answers(self) -> bool:
        ready = [str(self._programs / "pg_isready"), "-q", "-h", HOST, "-p", str(self.port), "-t", "1"]
        with socket.socket() as probe:
            if probe.connect_ex((HOST, self.port)) != 0:
                return False
        return subprocess.run(ready, check=False).returncode == 0

    def _run(self, program: str, *arguments: str) -> None:
        ended = subprocess.run(
            [str(self._programs / program), *arguments],
            check=False,
            capture_output=True,
            text=True,
            user=self._user,
            cwd=self.folder,
            timeout=10 * PATIENCE_S,
            start_new_session=True,
        )
        if ended.returncode:
            raise CfmError(f"{program} of PostgreSQL failed: {ended.stderr.strip()[-500:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _user() -> str | None:
    """Whom it runs as; None for ourselves."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"
