"""`python -m cfm.demo.janitor FOLDER…`: removes the folders when its standard input ends.

Where that said `keep`, it leaves them.  It outlives the demo on purpose.  When the demo is killed, nobody
else can remove its folders.
"""

from __future__ import annotations

import shutil
import signal
import sys
import time
from pathlib import Path

KEEP = b"keep"
TRIES = 50
PAUSE_S = 0.1
"""Programs that are killed together with the demo may still write for a moment."""


def main() -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.stdin.buffer.read() == KEEP:
        return 0
    folders = [Path(folder) for folder in sys.argv[1:]]
    for _try in range(TRIES):
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        if not any(folder.exists() for folder in folders):
            return 0
        time.sleep(PAUSE_S)
    return 1


if __name__ == "__main__":
    sys.exit(main())
