"""`make audit`: are there known vulnerabilities in what is pinned?

Asks OSV (https://osv.dev) about every pin, or reads advisories in OSV's format from a folder, for networks
that have no way there (its `PyPI/all.zip`, unpacked).  The canary is asked about as well, a version that
everybody knows to be bad: a service that has nothing to say of it is not heard, whatever it says of the rest.

Exit codes: 0 nothing is known; 1 it could not be found out; 3 something is known.
"""

# ruff: noqa: INP001 - a program, and no module

from __future__ import annotations

import argparse
import json
import re
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from packaging.version import InvalidVersion, Version

OSV: Final = "https://api.osv.dev/v1/querybatch"
TIMEOUT_S: Final = 30.0
COULD_NOT, VIOLATION = 1, 3
_PIN: Final = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^ ;\\]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True, order=True)
class Pin:
    name: str
    """As PEP 503 spells it."""
    version: str


CANARY: Final = Pin("aiohttp", "3.9.0")
"""CVE-2024-23334: its static files could be made to lead out of their folder."""


class UnknownError(Exception):
    """It could not be found out; the text says why."""


def pins_in(path: Path) -> set[Pin]:
    found = {Pin(canonical(name), version) for name, version in _PIN.findall(path.read_text("utf-8"))}
    if not found:
        raise UnknownError(f"{path} pins nothing")
    return found


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def ask_osv(url: str, pins: Sequence[Pin]) -> dict[Pin, list[str]]:
    """What a service says; one question for all pins."""
    queries = [{"package": {"name": p.name, "ecosystem": "PyPI"}, "version": p.version} for p in pins]
    body = json.dumps({"queries": queries}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 - as told
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310 - as told
            results = json.load(answer)["results"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnknownError(f"{url} gives no answer ({error})") from error
    if len(results) != len(pins):
        raise UnknownError(f"{url} answered {len(results)} of {len(pins)} questions")
    return {
        pin: [str(v["id"]) for v in result.get("vulns", ())]
        for pin, result in zip(pins, results, strict=True)
    }


def read_advisories(folder: Path, pins: Sequence[Pin]) -> dict[Pin, list[str]]:
    """What advisories on this disk say."""
    found: dict[Pin, list[str]] = {pin: [] for pin in pins}
    files = sorted(folder.rglob("*.json"))
    if not files:
        raise UnknownError(f"{folder} holds no advisory")
    for file in files:
        try:
            advisory = json.loads(file.read_text("utf-8"))
            for pin in pins:
                if "withdrawn" not in advisory and any(_hits(one, pin) for one in advisory["affected"]):
                    found[pin].append(str(advisory["id"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UnknownError(f"{file} is no advisory in OSV's format ({error!r})") from error
    return found


def _hits(affected: dict[str, Any], pin: Pin) -> bool:
    package = affected["package"]
    if package["ecosystem"] != "PyPI" or canonical(package["name"]) != pin.name:
        return False
    ranges = (one["events"] for one in affected.get("ranges", ()) if one["type"] == "ECOSYSTEM")
    return pin.version in affected.get("versions", ()) or any(_within(pin, events) for events in ranges)


def _within(pin: Pin, events: list[dict[str, str]]) -> bool:
    """OSV's evaluation: each event at or before the version turns the answer."""
    try:
        version, hit = Version(pin.version), False
        for kind, at in sorted(_events(events), key=lambda event: event[1]):
            if kind == "introduced" and version >= at:
                hit = True
            elif (kind == "fixed" and version >= at) or (kind == "last_affected" and version > at):
                hit = False
    except InvalidVersion:
        return True  # somebody should look
    return hit


def _events(events: list[dict[str, str]]) -> Iterator[tuple[str, Version]]:
    for event in events:
        for kind, at in event.items():
            yield kind, Version("0.dev0" if at == "0" else at)


def audit(files: Sequence[Path], url: str, folder: Path | None) -> int:
    wanted = set[Pin]().union(*(pins_in(file) for file in files))
    pins = sorted(wanted | {CANARY})
    known = ask_osv(url, pins) if folder is None else read_advisories(folder, pins)
    if not known[CANARY]:
        raise UnknownError(f"nothing was said of {CANARY.name} {CANARY.version}, which is known to be bad")
    bad = [pin for pin in sorted(wanted) if known[pin]]
    for pin in bad:
        print(f"{pin.name} {pin.version}: {', '.join(known[pin])}")
    print(f"{len(wanted)} pins, {len(bad)} with known vulnerabilities (the canary was caught)")
    return VIOLATION if bad else 0


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("files", nargs="+", type=Path, help="requirements with exact pins")
    arguments.add_argument("--osv", default=OSV, help="the service's address")
    arguments.add_argument("--advisories", type=Path, help="a folder of advisories in OSV's format instead")
    given = arguments.parse_args()
    try:
        return audit(given.files, given.osv, given.advisories)
    except (UnknownError, OSError) as error:
        print(f"not audited: {error}", file=sys.stderr)
        return COULD_NOT


if __name__ == "__main__":
    sys.exit(main())
