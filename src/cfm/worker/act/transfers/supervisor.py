"""The parent of one external downloader: nothing of it outlives its task or its worker.

A small program of its own, of the standard library only (`python -I -S supervisor.py`).  `external` starts
it ahead of need.  It reads one line from its standard input, a JSON list that is the command, and runs the
command. The command writes to the supervisor's stderr.  The supervisor kills the command, and every process
that descends from it, when

- the command itself has ended (what it left in the background goes too),
- its own standard input ends, or SIGTERM comes: the task was cancelled,
- the worker has died, by whatever signal: the kernel then sends SIGTERM (parent-death signal).

Its exit status is the command's; 128 + N where signal N ended the command; 127 where it could not be started.

A descendant cannot get away by a fork or a session of its own.  The supervisor is the subreaper of all of
them: a process that loses its parent becomes a child of the supervisor.
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
    if os.getppid() != worker:  # it died before we asked the kernel for the signal
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
    """Let SIGTERM and SIGCHLD become bytes on a pipe.  Returns the end to read from."""
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
    """The line with the command; empty where the worker wants nothing any more."""
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
    """(stream, bytes) for standard input and for each signal.  No bytes: standard input ended."""
    with selectors.DefaultSelector() as ready:
        for stream in (0, wakeup):
            ready.register(stream, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                yield key.fd, os.read(key.fd, 65_536)


def _start(command: list[str]) -> int | None:
    """Run the command, which dies with this supervisor.  None where it cannot be started.

    A failure in the child is written to stderr, and to a pipe that a successful exec closes.
    """
    supervisor = os.getpid()
    failed, failing = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        try:
            _become(command, supervisor)
        except OSError as error:
            os.write(2, f"{command[0]}: {error.strerror}\n".encode())
            os.write(failing, b"!")
        finally:
            os._exit(NOT_STARTED)
    os.close(failing)
    started = not os.read(failed, 1)
    os.close(failed)
    return child if started else None


def _become(command: list[str], supervisor: int) -> None:
    signal.set_wakeup_fd(-1)
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:
        return
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execv(command[0], command)  # noqa: S606 - the operator's program, without a shell
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
    # A script without a `#!` line: the shell runs it, as with `execvp`.
    os.execv("/bin/sh", ["/bin/sh", *command])  # noqa: S606


def _wait(child: int, wakeup: int) -> int:
    """The command's exit status; KILLED where nobody wants it any more."""
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
    """Collect every process that has ended.  Returns the command's status if it is among them."""
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
    """Kill every descendant.  A process that loses its parent by this becomes our child: it is next."""
    while True:
        for pid in _children():
            os.kill(pid, signal.SIGKILL)  # a child of ours stays there until we collect it
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _children() -> list[int]:
    with open(f"/proc/self/task/{os.getpid()}/children", "rb") as listed:  # noqa: PTH123 - pathlib is slow to load
        return [int(pid) for pid in listed.read().split()]


if __name__ == "__main__":
    # At once, without the interpreter's own clean-up: the next transfer waits for the end of this one.
    os._exit(main())
