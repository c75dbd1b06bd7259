"""The trace: a short note of everything that happens.  All are hashed, and the last ones kept as a story."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from xxhash import xxh3_64

KEPT = 4_000


class Trace:
    """Notes with their true times.  `digest` covers all of them."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._hash = xxh3_64()
        self.recent: deque[tuple[int, str, tuple[object, ...]]] = deque(maxlen=KEPT)

    def note(self, what: str, *facts: object) -> None:
        at_ms = self._now_ms()
        self.recent.append((at_ms, what, facts))
        self._hash.update(f"{at_ms} {what} {facts}\n".encode())

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def story(self, lines: int, about: str = "", until_ms: int | None = None) -> list[str]:
        """The last notes as lines for people.  With `about`, only notes that contain it, if there are any."""
        told = [_line(*note) for note in self.recent if until_ms is None or note[0] <= until_ms]
        if about:
            chosen = [line for line in told if about in line][-lines:]
            return chosen or told[-lines:]
        return told[-lines:]


def _line(at_ms: int, what: str, facts: tuple[object, ...]) -> str:
    hours, rest_ms = divmod(at_ms, 3_600_000)
    minutes, rest_ms = divmod(rest_ms, 60_000)
    seconds, millis = divmod(rest_ms, 1000)
    when = f"{hours:3}:{minutes:02}:{seconds:02}.{millis:03}"
    return f"{when}  {what:<22} {' '.join(str(fact) for fact in facts)}".rstrip()
