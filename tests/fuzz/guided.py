"""One target under atheris: `python guided.py NAME LIBFUZZER-ARGUMENTS…`; `run.py` starts it."""

from __future__ import annotations

import sys

import atheris  # type: ignore[import-untyped,unused-ignore]  # not pinned for `make test`

if __name__ == "__main__":
    with atheris.instrument_imports(include=["cfm", "yaml"]):
        from fuzz.targets import TARGETS
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, TARGETS[name].run)
    atheris.Fuzz()
