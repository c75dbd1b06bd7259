"""One target under atheris; `run.py` starts it, and says by the environment which one it is, and how to
start it again (libFuzzer merges in processes of its own)."""

from __future__ import annotations

import os
import sys

import atheris  # type: ignore[import-untyped,unused-ignore]  # not pinned for `make test`

if __name__ == "__main__":
    with atheris.instrument_imports(include=["cfm"]):
        from fuzz.targets import TARGETS
    atheris.Setup([os.environ["FUZZ_AGAIN"], *sys.argv[1:]], TARGETS[os.environ["FUZZ_TARGET"]].run)
    atheris.Fuzz()
