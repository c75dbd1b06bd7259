"""Open pages: what changed goes out alone, is made once, and reaches everybody who looks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfm.controller.serve.html import Html, tag
from cfm.controller.serve.live import SHARE, LivePages, Measured, TooManyError
from cfm.controller.serve.pages.frame import Page, digest, page, table
from cfm.controller.serve.pages.parts import Part, part

EVERY_S = 0.001


class Source:
    """A page that says how often it was made, unless it is told to say the same."""

    def __init__(self) -> None:
        self.made = 0
        self.text = "first"
        self.fails = 0

    async def make(self) -> Page:
        self.made += 1
        if self.fails:
            self.fails -= 1
            raise RuntimeError("not now")
        return page("Test", "/", part("p", "text", self.text), part("p", "still", "the same"))


@pytest.fixture
async def pages() -> AsyncIterator[LivePages]:
    made = LivePages(every_s=EVERY_S, ping_s=60)
    yield made
    made.close()


def message(event: bytes) -> dict[str, Any]:
    data = next(line for line in event.decode().splitlines() if line.startswith("data: "))
    found: dict[str, Any] = json.loads(data.removeprefix("data: "))
    return found


def digest_of(event: bytes) -> str:
    return event.decode().splitlines()[0].removeprefix("id: ")


async def test_a_listener_is_told_what_changed_and_nothing_else(pages: LivePages) -> None:
    source = Source()
    seen = digest((await source.make()).body.html())
    listener = await pages.listen("/", seen, source.make)
    source.text = "second"
    event = await listener.next()
    assert message(event)["parts"] == {"text": '<p id="text">second</p>'}
    assert digest_of(event) == digest((await source.make()).body.html())
    listener.close()


async def test_who_shows_another_state_gets_the_whole_page(pages: LivePages) -> None:
    source = Source()
    listener = await pages.listen("/", "something old", source.make)
    assert list(message(await listener.next())["parts"]) == ["main"]
    listener.close()


async def test_everybody_gets_the_same_bytes_of_a_page_that_is_made_once(pages: LivePages) -> None:
    source = Source()
    seen = digest((await source.make()).body.html())
    listeners = [await pages.listen("/", seen, source.make) for _ in range(50)]
    source.text = "second"
    events = await asyncio.gather(*(listener.next() for listener in listeners))
    assert len({id(event) for event in events}) == 1
    assert source.made < 50
    for listener in listeners:
        listener.close()


async def test_a_page_that_nobody_looks_at_is_not_made(pages: LivePages) -> None:
    source = Source()
    listener = await pages.listen("/", "", source.make)
    await listener.next()
    listener.close()
    made = source.made
    other = Source()
    another = await pages.listen("/other", "", other.make)
    for text in ("a", "b", "c"):
        other.text = text
        await another.next()
    another.close()
    assert source.made == made
    assert pages.listeners == 0


async def test_an_error_of_ours_ends_no_page(pages: LivePages) -> None:
    source = Source()
    seen = digest((await source.make()).body.html())
    listener = await pages.listen("/", seen, source.make)
    source.fails, source.text = 2, "second"
    assert message(await listener.next())["parts"] == {"text": '<p id="text">second</p>'}
    listener.close()


async def test_where_nothing_changes_a_listener_hears_that_it_is_so() -> None:
    pages, source = LivePages(every_s=EVERY_S, ping_s=0.01), Source()
    seen = digest((await source.make()).body.html())
    listener = await pages.listen("/", seen, source.make)
    assert list(message(await listener.next())) == ["at"]
    listener.close()


async def test_a_page_that_is_dear_to_make_is_made_rarely() -> None:
    """After a page that took a second of work nothing is made for half a minute."""
    source, work_s = Source(), iter(range(1_000))
    pages = LivePages(every_s=EVERY_S, ping_s=60, work_s=lambda: float(next(work_s)))
    listener = await pages.listen("/", "", source.make)
    await listener.next()
    source.text = "second"
    await listener.next()
    assert pages.rests_s() == pytest.approx(1 / SHARE, abs=2)
    listener.close()


async def test_a_page_that_waits_for_a_disk_holds_up_no_other(pages: LivePages) -> None:
    """And what others do meanwhile is not charged to it."""
    hanging, source = Source(), Source()
    never = asyncio.Event()

    async def hang() -> Page:
        if hanging.made:
            await never.wait()
        return await hanging.make()

    slow = await pages.listen("/slow", "", hang)
    await slow.next()
    listener = await pages.listen("/", "", source.make)
    await listener.next()
    for text in ("a", "b", "c"):
        source.text = text
        assert message(await listener.next())["parts"] == {"text": f'<p id="text">{text}</p>'}
    slow.close()
    listener.close()


async def test_only_the_work_of_its_own_steps_is_counted() -> None:
    work_s = iter(range(1_000))

    async def two_steps() -> None:
        await asyncio.sleep(0)

    measured = Measured(two_steps(), lambda: float(next(work_s)))
    await measured
    assert measured.work_s == 2

    async def fails() -> None:
        await asyncio.sleep(0)
        raise RuntimeError("not now")

    with pytest.raises(RuntimeError, match="not now"):
        await Measured(fails(), lambda: 0.0)


async def test_more_than_so_many_listeners_are_refused() -> None:
    pages = LivePages(every_s=EVERY_S, most_listeners=1)
    first = await pages.listen("/", "", Source().make)
    with pytest.raises(TooManyError):
        await pages.listen("/other", "", Source().make)
    first.close()
    (await pages.listen("/other", "", Source().make)).close()


# ── parts ───────────────────────────────────────────────────────────────────────────────────────────────


def rows(*cells: str) -> Part:
    keyed = [(key, (text, 1)) for key, text in zip("abc", cells, strict=False)]
    made = table("t", ("Name", "Number#"), keyed, empty="none")
    assert isinstance(made, Part)
    return made


def test_a_row_goes_out_alone_and_a_table_with_other_rows_whole() -> None:
    assert rows("x", "y").changes(rows("x", "y")) == {}
    assert rows("x", "z").changes(rows("x", "y")) == {
        "t-b": '<tr id="t-b"><td>z</td><td class="number">1</td></tr>'
    }
    assert list(rows("x").changes(rows("x", "y"))) == ["t-rows"]


def test_markup_stays_markup_and_text_stays_text() -> None:
    assert part("p", "a", "<", tag("b", "x"), part("i", "c", ">")).html() == (
        '<p id="a">&lt;<b>x</b><i id="c">&gt;</i></p>'
    )


TEXTS = st.lists(st.sampled_from(["x", "y", "<z>"]), max_size=3)


@given(TEXTS, TEXTS)
def test_what_changed_put_in_its_place_gives_the_new_page(before: list[str], after: list[str]) -> None:
    old, new = (part("div", "all", [part("p", f"p{n}", text) for n, text in enumerate(texts)])
                for texts in (before, after))  # fmt: skip
    html: str = old.html()
    for id_, markup in new.changes(old).items():
        html = _put(html, id_, markup)
    assert html == new.html()


def _put(html: str, id_: str, markup: Html) -> str:
    if id_ == "all":
        return markup
    start = html.index(f'<p id="{id_}">')
    end = html.index("</p>", start) + len("</p>")
    return html[:start] + markup + html[end:]
