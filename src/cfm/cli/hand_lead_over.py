"""The planned change of the leader: it resigns, and the command waits until another cfm leads.

Neighbour: `handover` is the command.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, Final

from cfm.cli.asking import AskedDaemon
from cfm.cli.common import ended_by_errors, print_json
from cfm.errors import CfmError

PATIENCE_S: Final = 10.0
LOOK_S: Final = 0.02


def hand_lead_over(cfm: AskedDaemon, *, json: bool) -> None:
    """Ends the program with 1 where nobody else takes the lead."""
    with ended_by_errors():
        told = cfm.post("api", "v1", "handover")
        began_s = time.monotonic()
        leader = _next_leader(replace(cfm, addr=told["others"][0], others=tuple(told["others"][1:])), told)
        took_s = round(time.monotonic() - began_s, 2)
        if leader["addr"] == told["from"]:
            raise CfmError(f"no other cfm took the lead within a second: {told['from']} leads again")
    if json:
        print_json({"from": told["from"], "to": leader["addr"], "epoch": leader["epoch"], "seconds": took_s})
    else:
        print(f"{leader['addr']} leads now, in place of {told['from']}: it took {took_s} s.")


def _next_leader(others: AskedDaemon, told: dict[str, Any]) -> dict[str, Any]:
    """Who leads in a later epoch."""
    ends_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < ends_s:
        seen = others.get("api", "v1", "status")["leadership"]
        if seen["epoch"] > told["epoch"] and seen["leader"] is not None:
            return {**seen["leader"], "epoch": seen["epoch"]}
        time.sleep(LOOK_S)
    raise CfmError(f"{told['from']} gave up the lead, and nobody leads after {PATIENCE_S:g} s")
