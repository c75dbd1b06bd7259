"""The parent of one external downloader: whatever happens, nothing of it outlives its task or its worker.

A small program of its own, of the standard library only (`python -I -S guard.py`), which `external` starts
ahead of need.  It reads one line from its standard input, a JSON list that is the command, and runs it.
The command's stderr is the guard's.  It kills the command and every process that descends from it when

- the command itself has ended (what it left in the background goes too),
- its standard input ends, or SIGTERM comes: the task was cancelled,
- the worker has died, by whatever signal: the kernel then sends SIGTERM (parent-death signal).

Its exit status is the command's; 128 + N where signal N ended it; 127 where it could not be started.

Descendants cannot slip away by a fork or a session of their own: the guard is their subreaper, so that
whoever loses its parent becomes a child of the guard.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import selectors
import signal
import sys
from collections.abc import Iterator

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
NOT_STARTED = 127
KILLED = 128 + signal.SIGKILL

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> int:
    worker = int(sys.argv[1])
    wakeup = _signals()
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    if os.getppid() != worker:  # it died before the kernel knew to tell us
        return KILLED
    line = _command_line(wakeup)
    if not line:
        return KILLED
    child = _start(json.loads(line))
    if child is None:
        return NOT_STARTED
    try:
        return _wait(child, wakeup)
    finally:
        _kill_all()


def _signals() -> int:
    """SIGTERM and SIGCHLD become bytes on a pipe, whose reading end is returned."""
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, lambda _number, _frame: None)
    return reading


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "prctl")


def _command_line(wakeup: int) -> bytes:
    """The command, or nothing where the worker wants none any more."""
    line = b""
    for stream, data in _events(wakeup):
        if stream == wakeup:
            if signal.SIGTERM in data:
                return b""
            continue
        if not data:
            return b""
        line += data
        if line.endswith(b"\n"):
            return line
    return b""


def _events(wakeup: int) -> Iterator[tuple[int, bytes]]:
    """(where, bytes) for each arrival on standard input or of signals; no bytes: standard input ended."""
    with selectors.DefaultSelector() as ready:
        for stream in (0, wakeup):
            ready.register(stream, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                yield key.fd, os.read(key.fd, 65_536)


def _start(command: list[str]) -> int | None:
    """Run the command; it dies with this guard.  None where it cannot be started.

    What fails in the child is said on stderr, and through a pipe that a successful exec closes.
    """
    guard = os.getpid()
    failed, failing = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        try:
            _become(command, guard)
        except OSError as error:
            os.write(2, f"{command[0]}: {error.strerror}\n".encode())
            os.write(failing, b"!")
        finally:
            os._exit(NOT_STARTED)
    os.close(failing)
    started = not os.read(failed, 1)
    os.close(failed)
    return child if started else None


def _become(command: list[str], guard: int) -> None:
    signal.set_wakeup_fd(-1)
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != guard:
        return
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execv(command[0], command)  # noqa: S606 - the operator's program, without a shell in between
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
    # A script without its first line: the shell's, as `execvp` has always had it.
    os.execv("/bin/sh", ["/bin/sh", *command])  # noqa: S606


def _wait(child: int, wakeup: int) -> int:
    """The command's exit status, or KILLED where it is wanted no more."""
    status = _reap(child)
    if status is not None:
        return status
    for stream, data in _events(wakeup):
        if (stream == 0 and not data) or (stream == wakeup and signal.SIGTERM in data):
            return KILLED
        status = _reap(child)
        if status is not None:
            return status
    return KILLED


def _reap(child: int) -> int | None:
    """Collect all that has ended; the command's status where it is among them."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            found = code if code >= 0 else 128 - code


def _kill_all() -> None:
    """Kill every descendant; who is orphaned by it becomes our child and has its turn."""
    while True:
        for pid in _children():
            os.kill(pid, signal.SIGKILL)  # a child of ours is there until we collect it
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _children() -> list[int]:
    with open(f"/proc/self/task/{os.getpid()}/children", "rb") as listed:  # noqa: PTH123 - pathlib is slow to load
        return [int(pid) for pid in listed.read().split()]


if __name__ == "__main__":
    # At once, without taking the interpreter apart: the next transfer waits for this one's end.
    os._exit(main())
