"""`python -m cfm.demo.die_with_parent PARENT COMMAND…`: becomes COMMAND, which ends when PARENT ends.

The demo starts every program in this way, so that no program outlives the demo, even when the demo is killed.
The kernel remembers the request, also after the exec.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:  # it ended before the kernel had our request
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 - a program of ours, without a shell in between


if __name__ == "__main__":
    main()
