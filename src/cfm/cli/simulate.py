"""`cfm simulate`: hands over to the simulator, which is a package of its own and not part of the wheel."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Final

import typer

from cfm.cli.common import fail
from cfm.errors import CfmError

LAB = "cfm_lab"

PASS_ON: Final = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""All options belong to the simulator's own command, `--help` too."""


def simulate(context: typer.Context) -> None:
    """Simulate nodes with faults and check every safety rule (needs the source checkout)."""
    if importlib.util.find_spec(LAB) is None:
        fail(
            CfmError(
                "the simulator is not installed; it comes with the source code of cfm: run `make setup` there"
            )
        )
    importlib.import_module(f"{LAB}.cli").main(context.args)
