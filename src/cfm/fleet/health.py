"""Which servers are up.  Pure: answers and misses go in, changes of state come out.

A server is down after a set number of misses in a row, and up after one answer.  Any sign of trouble (a
refused connection, a progress report that does not come) makes its next heartbeat due at once.  So a killed
worker is noticed at once, whatever the interval is.  A server that comes up or goes down is counted in the
node's `Revision`.  Neighbour: `controller.decide` sends the heartbeats that are due, and reports what came
back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cfm.model import Addr
from cfm.revision import Revision

RETRY_MS = 250
"""The pause after a miss while the server does not count as down yet.  It is also the shortest time between
two heartbeats that are sent early."""


@dataclass(slots=True)
class Pulse:
    """One server's heartbeats."""

    due_ms: int
    asked_ms: int | None = None
    """When the last heartbeat was sent."""
    up: bool | None = None
    """None until the first answer, or until there were enough misses."""
    misses: int = 0
    in_flight: bool = False
    hurried: bool = False
    why: str = "not asked yet"
    since_ms: int = 0


class HealthBook:
    """The heartbeats of all servers."""

    def __init__(
        self,
        addrs: Iterable[Addr],
        *,
        interval_ms: int,
        misses_to_down: int,
        now_ms: int,
        revision: Revision | None = None,
    ) -> None:
        self.revision = revision or Revision()
        self._interval_ms = interval_ms
        self._began_ms = now_ms
        self._misses_to_down = misses_to_down
        self._pulses = {addr: Pulse(due_ms=now_ms, since_ms=now_ms) for addr in addrs}
        self._next_due_ms: int | None = None
        self._moved = True
        """Has a pulse changed since `_next_due_ms` was computed?  Most events change no pulse at all."""

    def is_up(self, addr: Addr) -> bool:
        return self._pulses[addr].up is True

    def pulse(self, addr: Addr) -> Pulse:
        return self._pulses[addr]

    def take_due(self, now_ms: int) -> list[Addr]:
        """The servers to ask now.  Each of them counts as being asked until it has answered or missed."""
        next_due_ms = self.next_due_ms()
        if next_due_ms is None or next_due_ms > now_ms:
            return []
        self._moved = True
        due = [addr for addr, pulse in self._pulses.items() if not pulse.in_flight and pulse.due_ms <= now_ms]
        for addr in due:
            self._pulses[addr].in_flight, self._pulses[addr].asked_ms = True, now_ms
        return due

    def next_due_ms(self) -> int | None:
        if self._moved:
            waiting = [pulse.due_ms for pulse in self._pulses.values() if not pulse.in_flight]
            self._next_due_ms = min(waiting, default=None)
            self._moved = False
        return self._next_due_ms

    def answered(self, addr: Addr, now_ms: int) -> bool:
        """An answer came.  Returns True where the server was not up before."""
        pulse = self._pulses[addr]
        came_up = pulse.up is not True
        pulse.up, pulse.misses, pulse.why = True, 0, ""
        if came_up:
            pulse.since_ms = now_ms
            self.revision.dispatch += 1
        self._again(pulse, now_ms, self._next_beat_ms(pulse, now_ms))
        return came_up

    def missed(self, addr: Addr, why: str, now_ms: int) -> bool:
        """No good answer came.  Returns True where the server goes down now."""
        pulse = self._pulses[addr]
        pulse.misses += 1
        pulse.why = why
        down = pulse.misses >= self._misses_to_down
        went_down = down and pulse.up is not False
        if went_down:
            pulse.up, pulse.since_ms = False, now_ms
            self.revision.dispatch += 1
            self.revision.plan += 1
        self._again(pulse, now_ms, self._next_beat_ms(pulse, now_ms) if down else now_ms + RETRY_MS)
        return went_down

    def hurry(self, addr: Addr, now_ms: int) -> None:
        """Something looks wrong there: ask at once.  If a heartbeat is under way, ask once more after it."""
        if self._pulses[addr].up is not False:
            self._hurry(self._pulses[addr], now_ms)

    def heard_of(self, addr: Addr, now_ms: int) -> None:
        """The server sent us a request.  Ask it at once where it does not count as up."""
        if self._pulses[addr].up is not True:
            self._hurry(self._pulses[addr], now_ms)

    def _hurry(self, pulse: Pulse, now_ms: int) -> None:
        self._moved = True
        pulse.hurried = pulse.in_flight
        pulse.due_ms = min(pulse.due_ms, _not_too_soon(pulse, now_ms))

    def _again(self, pulse: Pulse, now_ms: int, due_ms: int) -> None:
        self._moved = True
        pulse.in_flight = False
        pulse.due_ms = _not_too_soon(pulse, now_ms) if pulse.hurried else max(now_ms, due_ms)
        pulse.hurried = False

    def _next_beat_ms(self, pulse: Pulse, now_ms: int) -> int:
        """The next of the moments at which all servers are asked.

        So one wake-up is enough for all of them, however fast each one answers, and also after an early
        heartbeat.
        """
        asked_ms = now_ms if pulse.asked_ms is None else pulse.asked_ms
        return asked_ms + self._interval_ms - (asked_ms - self._began_ms) % self._interval_ms


def _not_too_soon(pulse: Pulse, now_ms: int) -> int:
    """Now, or a moment after the last heartbeat, so that a server is never flooded."""
    return now_ms if pulse.asked_ms is None else max(now_ms, pulse.asked_ms + RETRY_MS)
