"""Pages in a real browser: only with `--browser`, as `make browser` says; it takes half a minute."""

from __future__ import annotations

from pathlib import Path

import pytest

_HERE = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--browser", action="store_true", help="look at the pages in Chromium")
    parser.addoption("--new-picture", action="store_true", help="write the picture in the documentation anew")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--browser", default=False):
        return
    later = [item for item in items if _HERE in item.path.parents]
    config.hook.pytest_deselected(items=later)
    items[:] = [item for item in items if item not in later]
