"""Replies that are waited for, with one timer for all of them."""

from __future__ import annotations

import asyncio

import pytest

from cfm.controller.act.patience import Patience


async def test_a_reply_in_time_is_given() -> None:
    reply: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(Patience(60).wait(reply))
    reply.set_result("ok")
    assert await waiting == "ok"


async def test_each_one_who_waits_too_long_is_told_so() -> None:
    patience, loop = Patience(0.01), asyncio.get_running_loop()
    first = asyncio.create_task(patience.wait(loop.create_future()))
    with pytest.raises(TimeoutError):
        await patience.wait(loop.create_future())
    later = asyncio.create_task(patience.wait(loop.create_future()))
    with pytest.raises(TimeoutError):
        await first
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(later, 10)


async def test_who_no_longer_waits_is_forgotten() -> None:
    patience, loop = Patience(0.01), asyncio.get_running_loop()
    gone = asyncio.create_task(patience.wait(loop.create_future()))
    stays = asyncio.create_task(patience.wait(loop.create_future()))
    await asyncio.wait({gone, stays}, timeout=0)
    gone.cancel()
    with pytest.raises(TimeoutError):
        await stays
    with pytest.raises(asyncio.CancelledError):
        await gone
