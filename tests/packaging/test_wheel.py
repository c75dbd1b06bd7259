"""What `pip install` of a wheel gives: everything that the programs read, and what an operator installs."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGE = ROOT / "src" / "cfm"


def covered(folder: Path, patterns: list[str]) -> set[Path]:
    return {path for pattern in patterns for path in folder.glob(pattern)}


def test_the_wheel_has_every_file_of_the_package() -> None:
    taken = covered(PACKAGE, PROJECT["tool"]["setuptools"]["package-data"]["cfm"])
    files = {path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {path for path in files - taken if path.suffix != ".py"} == set()
    assert PACKAGE / "config" / "settings.page" in taken, "the samples are made from it"


def test_the_wheel_has_the_units_and_whatever_else_is_for_operators() -> None:
    taken = covered(ROOT, PROJECT["tool"]["setuptools"]["data-files"]["share/cfm"])
    assert {path for path in (ROOT / "packaging").rglob("*") if path.is_file()} == taken


def test_both_programs_are_in_it() -> None:
    assert set(PROJECT["project"]["scripts"]) == {"cfm", "cfw"}
