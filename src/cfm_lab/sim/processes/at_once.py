"""How a simulated process runs the product's coroutines: at once, since nothing in it ever waits.

In virtual time a thread is not needed either: a disk that hangs is simulated by whoever asks it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

R = TypeVar("R")


def at_once(work: Coroutine[Any, Any, R]) -> R:
    """The result of a coroutine that never waits, as those of the product's state in memory."""
    try:
        work.send(None)
    except StopIteration as stop:
        result: R = stop.value
        return result
    raise AssertionError("it waits")


class NoThreads:
    """What is to be done in a thread is done at once."""

    async def run(
        self,
        timeout_s: float | None,  # noqa: ARG002 - the protocol's argument
        work: Callable[[], R],
        dispose: Callable[[R], None] | None = None,  # noqa: ARG002 - the protocol's argument
    ) -> R:
        return work()

    def close(self) -> None: ...


class NoLog:
    """A log that nobody reads."""

    def info(self, event: str, **facts: Any) -> None: ...

    def warning(self, event: str, **facts: Any) -> None: ...
