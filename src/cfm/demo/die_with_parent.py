"""`python -m cfm.demo.die_with_parent [--signal N] [--user NAME] PARENT COMMAND…`: becomes COMMAND, which
ends when PARENT ends.

The demo and the tests start every program in this way, so that no program outlives them, even when they are
killed.  The kernel remembers the request, also after the exec.  It asks for the thread that started this
program, so that has to be one that lasts.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import pwd
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--signal", type=int, default=signal.SIGKILL, help="what ends COMMAND")
    parser.add_argument("--user", help="whom COMMAND runs as, where this is root")
    parser.add_argument("parent", type=int)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    wanted = parser.parse_args()
    if wanted.user:  # before the request, which a change of user would take back
        entry = pwd.getpwnam(wanted.user)
        os.initgroups(wanted.user, entry.pw_gid)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, wanted.signal, 0, 0, 0) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != wanted.parent:  # it ended before the kernel had our request
        sys.exit(1)
    os.execv(wanted.command[0], wanted.command)  # noqa: S606 - a program of ours, without a shell in between


if __name__ == "__main__":
    main()
