"""Many small things on the loop: in order, and others get their turn in between."""

from __future__ import annotations

import asyncio

import pytest

from cfm.controller.act.in_turns import InTurns


async def test_all_is_done_in_order_and_others_have_their_turn_in_between() -> None:
    done: list[int] = []
    turns = InTurns(done.append, turn_s=0)
    for number in range(5):
        turns.put(number)
    seen = []
    while len(done) < 5:
        await asyncio.sleep(0)
        seen.append(len(done))
    assert done == [0, 1, 2, 3, 4]
    assert seen == [1, 2, 3, 4, 5]


async def test_what_takes_no_time_is_done_in_one_turn() -> None:
    done: list[int] = []
    turns = InTurns(done.append, turn_s=10)
    turns.put(1)
    turns.put(2)
    await asyncio.sleep(0)
    assert done == [1, 2]
    turns.put(3)
    await asyncio.sleep(0)
    assert done == [1, 2, 3]


async def test_an_error_holds_up_nothing_else() -> None:
    done: list[float] = []
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context["exception"]))
    turns: InTurns[int] = InTurns(lambda number: done.append(1 / number), turn_s=10)
    turns.put(0)
    turns.put(1)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert done == [pytest.approx(1)]
    assert [type(error) for error in told] == [ZeroDivisionError]
