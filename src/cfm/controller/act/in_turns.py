"""Many small things on the event loop, a few at a time: whoever wants an answer gets it in between.

Three hundred servers answer together.  What is ready together runs in one turn of the loop, and nobody else
is answered meanwhile.  Neighbour: `loop` hears answers and asks questions in this way.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

TURN_S: Final = 0.003
"""How long one turn may last, but for its last thing."""


class InTurns(Generic[T]):
    """What is to be done, in order."""

    def __init__(self, do: Callable[[T], None], turn_s: float = TURN_S) -> None:
        self._do = do
        self._turn_s = turn_s
        self._waiting: deque[T] = deque()
        self._has_turn = False

    def put(self, thing: T) -> None:
        """Do this as soon as all that came before is done."""
        self._waiting.append(thing)
        self._ask_for_turn()

    def _ask_for_turn(self) -> None:
        if self._waiting and not self._has_turn:
            self._has_turn = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._has_turn = False
        until_s = time.perf_counter() + self._turn_s
        try:
            while self._waiting:
                self._do(self._waiting.popleft())
                if time.perf_counter() >= until_s:
                    break
        finally:
            self._ask_for_turn()
