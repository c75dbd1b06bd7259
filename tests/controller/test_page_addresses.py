"""Every address of the pages, asked over a socket at the real endpoints."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cfm.controller.decide import events as ev
from cfm_lab.testing.controller_rig import DESTINATIONS, ControllerRig, a_task, controller_rig
from cfm_lab.testing.raw_http import connect, hang_up, request
from controller.page_reading import Reading

EVIL = "%3Cscript%3Ealert(1)%3C%2Fscript%3E%22'%20%26.mpg"


@pytest.fixture
async def cfm(tmp_path: Path) -> AsyncIterator[ControllerRig]:
    async with controller_rig(tmp_path, [a_task(1, "A.mpg")]) as rig:
        yield rig


async def page(cfm: ControllerRig, path: str) -> Reading:
    answer = await cfm.ask("GET", path)
    assert answer.status == 200, path
    return Reading(answer.body.decode())


async def test_every_page_is_there_and_old_addresses_lead_to_what_replaced_them(
    cfm: ControllerRig,
) -> None:
    for path, title, old in (
        ("/", "Overview", "/dashboard"),
        ("/servers", "Servers", "/dashboard/hb"),
        ("/backlog", "Backlog", "/dashboard/filemetas"),
        ("/deletes", "Deletes", ""),
        ("/history", "History", ""),
        ("/settings", "Settings", ""),
        (f"/server/{DESTINATIONS[0]}", DESTINATIONS[0], ""),
        ("/file/A.mpg", "A.mpg", ""),
        ("/search?q=nothing", "Search: nothing", ""),
    ):
        for address in filter(None, (path, old)):
            assert f"{title} · cfm" in (await page(cfm, address)).text


async def test_links_of_the_navigation_lead_to_pages(cfm: ControllerRig) -> None:
    for link in (await page(cfm, "/")).values("href"):
        if not link.startswith("#"):
            assert (await cfm.ask("GET", link)).status == 200, link


async def test_an_address_that_leads_nowhere_is_a_page_for_browsers_alone(cfm: ControllerRig) -> None:
    answer = await cfm.ask("GET", "/servers/x", Accept="text/html,*/*")
    assert (answer.status, "Not found" in Reading(answer.body.decode()).text) == (404, True)
    answer = await cfm.ask("GET", "/servers/x")
    assert (answer.status, json.loads(answer.body)["status"]) == (404, 404)


async def test_deletes_are_told_page_by_page(cfm: ControllerRig) -> None:
    for number in range(120):
        cfm.controller.feed(ev.Noted("deleted file", {"file": f"D{number:03}.mpg", "server": "s:1"}))
    cfm.controller.feed(ev.Noted("copied file", {"file": "D000.mpg", "server": "s:1"}))
    shown = await page(cfm, "/deletes")
    assert ("D119.mpg" in shown.text, "D019.mpg" in shown.text) == (True, False)
    assert "copied" not in shown.text
    (older,) = [link for link in shown.values("href") if "before=" in link]
    shown = await page(cfm, older)
    assert ("D019.mpg" in shown.text, "D020.mpg" in shown.text) == (True, False)


async def test_a_search_that_finds_one_thing_leads_there(cfm: ControllerRig) -> None:
    answer = await cfm.ask("GET", "/search?q=127.0.2.2")
    assert (answer.status, answer.headers["location"]) == (303, f"/server/{DESTINATIONS[1]}")


async def test_what_is_searched_for_is_text(cfm: ControllerRig) -> None:
    for path in (f"/search?q={EVIL}", f"/history?about={EVIL}", f"/file/{EVIL.replace('%2F', '')}"):
        found = await page(cfm, path)
        assert found.tags.count("script") <= 1
        assert "<script>alert(1)" in found.text


async def test_an_address_that_leads_nowhere_says_so_as_a_page(cfm: ControllerRig) -> None:
    answer = await cfm.ask("GET", "/server/127.0.2.1:1")
    assert answer.status == 404
    assert f"did you mean {DESTINATIONS[0]} or" in Reading(answer.body.decode()).text
    assert (await cfm.ask("GET", "/backlog?from=x")).status == 400
    assert (await cfm.ask("GET", "/file/a%2Fb")).status == 400
    assert (await cfm.ask("GET", "/static/secrets.yml")).status == 404


async def test_a_page_tells_what_changes_on_it(cfm: ControllerRig) -> None:
    """A task that is cancelled disappears from the open page, in parts that are told by their ids."""
    first = (await cfm.ask("GET", "/")).body.decode()
    seen = dict(Reading(first).attributes)["data-live"]
    reader, writer = await connect(cfm.addr)
    writer.write(request("GET", f"/?live={seen}"))
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"text/event-stream" in head
    assert (await cfm.ask("DELETE", "/tasks/1")).status == 200
    parts: dict[str, str] = {}
    while "transfers" not in parts:
        line = (await reader.readuntil(b"\n")).decode()
        if line.startswith("data: "):
            parts = json.loads(line.removeprefix("data: ")).get("parts", {})
    assert "A.mpg" in first
    assert "No copy is running" in parts["transfers"]
    assert "main" not in parts
    await hang_up(writer)


async def test_what_pages_are_made_of_is_told_as_json(cfm: ControllerRig) -> None:
    backlog = json.loads((await cfm.ask("GET", "/api/v1/backlog?limit=200")).body)
    assert backlog == {"total": 0, "listed": 0, "offset": 0, "rows": []}
    assert (await cfm.ask("GET", "/api/v1/backlog?limit=201")).status == 400
    found = json.loads((await cfm.ask("GET", "/api/v1/search?q=127.0.2")).body)
    assert (found["servers"], found["files"], found["more"]) == (list(DESTINATIONS), [], False)
    trends = json.loads((await cfm.ask("GET", "/api/v1/trends")).body)
    assert (trends["hour"]["step_s"], trends["day"]["step_s"]) == (15, 300)
    assert len(trends["hour"]["copied_bytes"]) == len(trends["hour"]["sources_busy"]) >= 1
