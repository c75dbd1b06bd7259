"""Which fault tests run: all by `make faults`, a quick choice of them with all other tests.

A test is in the choice by the marker `quick`; the others say with `--all-faults` that they are wanted.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.story import Story

_HERE = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all-faults", action="store_true", help="all faults on real processes, for minutes")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "quick: a fault that is tried with all other tests")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--all-faults", default=False):
        return
    later = [
        item for item in items if _HERE in item.path.parents and item.get_closest_marker("quick") is None
    ]
    config.hook.pytest_deselected(items=later)
    items[:] = [item for item in items if item not in later]


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    """Direct connections."""
    with Story(tmp_path) as story:
        yield story


@pytest.fixture
def proxied(tmp_path: Path) -> Iterator[Story]:
    """All connections go through proxies."""
    with Story(tmp_path, proxied=True) as story:
        yield story
