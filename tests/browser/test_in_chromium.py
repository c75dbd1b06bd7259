"""The pages in a real Chromium: they follow what goes on, keep what the reader does, and can be used by all.

`make browser` runs these; `--new-picture` writes the picture in the documentation anew.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from browser.chromium import Tab, browser
from cfm_lab.testing.controller_rig import DESTINATIONS, ControllerRig, a_task, controller_rig
from cfm_lab.testing.processes import Daemon, free_port

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

ROOT = Path(__file__).resolve().parents[2]
AXE = ROOT / ".tools/axe/node_modules/axe-core/axe.min.js"
PICTURE = ROOT / "docs/overview.png"
EVIL = "<img src=x onerror=alert(1)>\"' onload=alert(1) &amp;.mpg"
PAGES = ("/", "/servers", "/backlog", "/deletes", "/history", "/settings", "/search?q=K00")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def new_tab() -> AsyncIterator[Any]:
    async with browser() as tab:
        yield tab


@pytest_asyncio.fixture(loop_scope="module")
async def rig(tmp_path: Path) -> AsyncIterator[ControllerRig]:
    """A controller with three tasks, of which one has a hostile name."""
    tasks = [a_task(1, "A.mpg"), a_task(2, EVIL, DESTINATIONS[1]), a_task(3, "C.mpg")]
    async with controller_rig(tmp_path, tasks) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def demo(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """A whole node that does something; its address."""
    addr = f"127.0.0.1:{free_port('127.0.0.1')}"
    arguments = ("demo", "--headless", "--port", addr.rpartition(":")[2], "--seconds", "600", "--seed", "4")
    daemon = Daemon("demo", tmp_path_factory.mktemp("demo"), addr, "cfm.cli.cfm", arguments)
    daemon.start()
    try:
        await _until_listening(addr)
        yield f"http://{addr}"
    finally:
        daemon.stop()


async def _until_listening(addr: str) -> None:
    host, _, port = addr.rpartition(":")
    async with asyncio.timeout(60):
        while True:
            try:
                _reader, writer = await asyncio.open_connection(host, int(port))
            except OSError:
                await asyncio.sleep(0.1)
            else:
                writer.close()
                return


async def opened(new_tab: Any, url: str, **looks: Any) -> Tab:
    tab: Tab = await new_tab()
    await tab.looks(**looks)
    await tab.open(url)
    return tab


# ── following ───────────────────────────────────────────────────────────────────────────────────────────


async def test_a_change_arrives_and_selection_focus_and_scroll_stay(new_tab: Any, rig: ControllerRig) -> None:
    tab = await opened(new_tab, f"http://{rig.addr}/", height=400)
    await tab.until("document.getElementById('live').className === 'on'")
    await tab.run(
        """
        const files = [...document.querySelectorAll('#transfers a.file')];
        window.kept = files.find(a => a.textContent === 'C.mpg');
        kept.focus({preventScroll: true});
        getSelection().selectAllChildren(document.querySelector('#disks h2'));
        scrollTo(0, 300);
        """
    )
    assert (await rig.ask("DELETE", "/tasks/1")).status == 200
    await tab.until("!document.querySelector('#transfers').textContent.includes('A.mpg')")
    assert await tab.run("kept.isConnected && document.activeElement === kept")
    assert await tab.run("getSelection().toString()") == "Disks"
    assert await tab.run("Math.round(scrollY)") == 300
    assert tab.complaints == []


async def test_a_page_says_when_it_is_not_connected_and_catches_up(new_tab: Any, rig: ControllerRig) -> None:
    tab = await opened(new_tab, f"http://{rig.addr}/")
    await tab.until("document.getElementById('live').className === 'on'")
    await tab.run("close(); say('not connected')")
    assert "not up to date" in await tab.run("document.getElementById('said').textContent")
    assert (await rig.ask("DELETE", "/tasks/3")).status == 200
    await tab.run("open()")
    await tab.until("!document.querySelector('#transfers').textContent.includes('C.mpg')")
    assert await tab.run("document.getElementById('said').textContent") == "connected again"


async def test_a_hostile_name_is_text_and_nothing_is_loaded_from_elsewhere(
    new_tab: Any, rig: ControllerRig
) -> None:
    tab = await opened(new_tab, f"http://{rig.addr}/")
    link = "[...document.querySelectorAll('#transfers a.file')].find(a => a.textContent.startsWith('<img'))"
    assert await tab.run(f"{link}.textContent") == EVIL
    assert await tab.run("document.querySelectorAll('img, [onload], [onerror]').length") == 0
    await tab.run(f"{link}.click()")
    await tab.until(f"document.querySelector('h1')?.textContent === {json.dumps(EVIL)}")
    assert await tab.run("document.querySelectorAll('img, [onload], [onerror]').length") == 0
    assert tab.complaints == []
    assert {url.split("/")[2] for url in tab.requested if url != "about:blank"} == {rig.addr}


async def test_the_keyboard_finds_everything(new_tab: Any, rig: ControllerRig) -> None:
    tab = await opened(new_tab, f"http://{rig.addr}/")
    await tab.press("Tab")
    assert await tab.run("document.activeElement.className") == "skip"
    await tab.press("/", "/")
    assert await tab.run("document.activeElement.id") == "search"
    for sign in "127.0.2.2":
        await tab.press(sign, sign)
    await tab.press("Enter", "\r")
    await tab.until(f"document.querySelector('h1')?.textContent.startsWith('{DESTINATIONS[1]}')")
    await tab.press("Tab")
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert await tab.run(outline) != "none"


# ── for everybody ───────────────────────────────────────────────────────────────────────────────────────


async def _some_pages(tab: Tab, demo: str) -> list[str]:
    """All pages, with that of a server and of a file."""
    await tab.open(f"{demo}/")
    await tab.until("!!document.querySelector('#decisions a.file')")
    more = ["#disks a.server", "#decisions a.file"]
    return [*PAGES, *[await tab.run(f"document.querySelector('{one}').getAttribute('href')") for one in more]]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_axe_finds_nothing_serious(new_tab: Any, demo: str, dark: bool) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not here; make browser gets it with npm")
    tab = await opened(new_tab, f"{demo}/", dark=dark)
    found = []
    for path in await _some_pages(tab, demo):
        await tab.open(f"{demo}{path}")
        await tab.run(AXE.read_text() + ";0")
        told = json.loads(await tab.run("axe.run().then(found => JSON.stringify(found.violations))"))
        found += [
            (path, one["id"], one["impact"], one["nodes"][0]["html"][:200], one["nodes"][0]["failureSummary"])
            for one in told
            if one["impact"] in ("serious", "critical")
        ]
    assert found == []


@pytest.mark.parametrize("width", [390, 1280])
async def test_no_page_is_wider_than_the_window(new_tab: Any, demo: str, width: int) -> None:
    tab = await opened(new_tab, f"{demo}/", width=width)
    for path in await _some_pages(tab, demo):
        await tab.open(f"{demo}{path}")
        assert await tab.run("document.documentElement.scrollWidth") <= width, path
    assert tab.complaints == []


async def test_the_picture_in_the_documentation(
    new_tab: Any, demo: str, request: pytest.FixtureRequest
) -> None:
    tab = await opened(new_tab, f"{demo}/", width=1280, height=1100)
    await tab.until("document.querySelectorAll('#transfers tbody tr').length > 1")
    picture = await tab.picture()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 400_000
    if request.config.getoption("--new-picture"):
        PICTURE.write_bytes(picture)
    assert PICTURE.exists()
