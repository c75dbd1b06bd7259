"""The network between the processes of a node: latencies, lost and late messages, cuts.

A call is one request with at most one answer.  The caller hears exactly once, either the answer or a
`Failure`; it hears nothing if its process has ended by then.  A process that is stopped (SIGSTOP) hears its
answers when it goes on, and carries out then what others asked of it meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

from cfm.model import Failure, Trouble
from cfm_lab.sim.environment.faults import Swarm
from cfm_lab.sim.environment.rng import MILLION, Rng
from cfm_lab.sim.environment.schedule import Schedule

Reply = Callable[[object], None]
Serve = Callable[[Reply], None]

REFUSED: Final = Failure(Trouble.REFUSED, "connection refused")
RESET: Final = Failure(Trouble.BROKEN, "connection reset")
SILENCE: Final = Failure(Trouble.TIMEOUT, "no answer in time")
GARBLED: Final = Failure(Trouble.MALFORMED, "cannot be read")
ERROR_500: Final = Failure(Trouble.STATUS, "answered 500", 500)
LATENCY_MS: Final = 1
JITTER_MS: Final = 4
BUSY_CPU_MS: Final = 2_500
LATE_MS: Final = 8_000
"""How long after its time-out a late request may still be carried out.  Old workers know no fence, so an
operator's network must not be worse than this for them (see `QUIET_MS` of the product)."""


class Process:
    """Something that runs on a machine, and may be killed or stopped."""

    def __init__(self, name: str, schedule: Schedule, *, up: bool = True) -> None:
        self.name = name
        self.up = up
        self.stopped = False
        self.slow = False
        self.reachable = True
        """False: its machine is gone, and a connection to it is not even refused."""
        self.incarnation = 0
        self._backlog: list[Callable[[], None]] = []
        self.open_calls: dict[int, Call] = {}
        self._schedule = schedule

    def runs_since(self, incarnation: int) -> bool:
        """Does the process that had this number still run?"""
        return self.up and self.incarnation == incarnation

    def later(self, delay_ms: int, call: Callable[[], None]) -> None:
        """Do something after a while, if this very process still runs then."""
        incarnation = self.incarnation

        def due() -> None:
            if self.runs_since(incarnation):
                self.do(call)

        self._schedule.after(delay_ms, due)

    def do(self, call: Callable[[], None]) -> None:
        """Call it now, or when the process goes on."""
        if self.stopped:
            self._backlog.append(call)
        else:
            call()

    def end(self) -> None:
        """The process is gone, and so is what it was about to do."""
        self.up = self.stopped = False
        self.incarnation += 1
        self._backlog.clear()
        calls, self.open_calls = self.open_calls, {}
        for call in calls.values():
            call.server_died()

    def stop(self) -> None:
        self.stopped = True

    def go_on(self) -> None:
        self.stopped = False
        waiting, self._backlog = self._backlog, []
        for call in waiting:
            if self.stopped or not self.up:
                break
            call()


class Call:
    """One request under way."""

    __slots__ = (
        "_done", "_incarnation", "_net", "_number", "_serve", "_timeout_ms", "back_ms", "caller", "fate",
        "gone", "over", "server", "started_ms",
    )  # fmt: skip

    def __init__(
        self, net: Network, caller: Process, server: Process, serve: Serve, done: Reply, timeout_ms: int
    ) -> None:
        self._net = net
        self._serve = serve
        self._done = done
        self._timeout_ms = timeout_ms
        self._incarnation = caller.incarnation
        self._number = 0
        self.caller = caller
        self.server = server
        self.fate = ""
        self.back_ms = LATENCY_MS
        """How long its answer takes to come back."""
        self.over = False
        self.gone: Callable[[], None] | None = None
        """Called when the caller stops waiting."""
        self.started_ms = net.schedule.now_ms

    def arrive(self) -> None:
        """The request has reached its server."""
        server = self.server
        if not server.up or not server.reachable:
            if server.reachable:
                self._net.later(self, REFUSED)
            else:
                self.silence()
            return
        if server.stopped:
            self.silence()
        server.do(self._carry_out)

    def _carry_out(self) -> None:
        self._number = self._net.number()
        self.server.open_calls[self._number] = self
        self._serve(self.answer)
        if self._number in self.server.open_calls:
            self._watch()

    def answer(self, answer: object) -> None:
        """The server has answered."""
        if self.server.open_calls.pop(self._number, None) is None:
            return
        self._net.answered(self, answer)

    def server_died(self) -> None:
        if self.server.reachable:
            self._net.later(self, RESET)
        else:
            self.silence()

    def silence(self) -> None:
        """The caller will hear nothing but its time-out."""
        wait_ms = max(0, self.started_ms + self._timeout_ms - self._net.schedule.now_ms)
        self._net.schedule.after(wait_ms, self.deliver, SILENCE)

    def _watch(self) -> None:
        """The answer does not come at once: set the time-out."""
        wait_ms = max(0, self.started_ms + self._timeout_ms - self._net.schedule.now_ms)
        self._net.schedule.after(wait_ms, self._timed_out)

    def _timed_out(self) -> None:
        if not self.over:
            if self.server.open_calls.pop(self._number, None) is not None and self.gone is not None:
                self.gone()
            self.deliver(SILENCE)

    def deliver(self, answer: object) -> None:
        """The caller hears the answer, if it has heard none yet."""
        if self.over:
            return
        caller = self.caller
        if caller.incarnation != self._incarnation:
            self.over = True
            return
        if caller.stopped:
            caller.do(lambda: self.deliver(answer))
            return
        self.over = True
        self._done(answer)


class Network:
    """All connections of one node."""

    def __init__(self, schedule: Schedule, swarm: Swarm, rng: Rng) -> None:
        self.schedule = schedule
        self._swarm = swarm
        self._rng = rng
        self._links: dict[tuple[str, str], Rng] = {}
        """(from, to) → the luck of that way.  No call changes the luck of calls between other machines."""
        self._calls = 0
        self.cuts: dict[tuple[str, str], int] = {}
        """(from, to) → how many faults cut this direction."""
        self.calls_made = 0
        self.calls_to: Counter[str] = Counter()

    def call(
        self,
        caller: Process,
        server: Process,
        serve: Serve,
        done: Reply,
        timeout_ms: int,
    ) -> Call:
        """Send a request.  `serve` runs at the server, `done` at the caller."""
        self.calls_made += 1
        self.calls_to[server.name] += 1
        call = Call(self, caller, server, serve, done, timeout_ms)
        if self.cuts and (caller.name, server.name) in self.cuts:
            call.silence()
            return call
        rng = self._luck(caller, server)
        luck, jitter = divmod(rng.below(MILLION * JITTER_MS * JITTER_MS), JITTER_MS * JITTER_MS)
        call.fate = fate = self._swarm.fate(luck)
        call.back_ms = LATENCY_MS + jitter // JITTER_MS
        latency_ms = LATENCY_MS + jitter % JITTER_MS
        if server.slow:
            latency_ms += rng.below(BUSY_CPU_MS)
        if fate:
            self._with_fate(call, fate, latency_ms, timeout_ms, rng)
        else:
            self.schedule.after(latency_ms, call.arrive)
        return call

    def _luck(self, caller: Process, server: Process) -> Rng:
        link = (caller.name, server.name)
        rng = self._links.get(link)
        if rng is None:
            rng = self._links[link] = self._rng.fork(f"{caller.name} to {server.name}")
        return rng

    def _with_fate(self, call: Call, fate: str, latency_ms: int, timeout_ms: int, rng: Rng) -> None:
        schedule = self.schedule
        if fate == "refused":
            schedule.after(latency_ms, call.deliver, REFUSED)
        elif fate == "reset_before":
            schedule.after(latency_ms, call.deliver, RESET)
        elif fate == "error_500":
            schedule.after(latency_ms, call.deliver, ERROR_500)
        elif fate == "request_lost":
            call.silence()
        elif fate == "request_late":
            call.silence()
            schedule.after(timeout_ms + 1 + rng.below(LATE_MS), call.arrive)
        elif fate == "reordered":
            schedule.after(latency_ms + rng.below(min(4_000, timeout_ms)), call.arrive)
        elif fate == "request_twice":
            schedule.after(latency_ms, call.arrive)
            schedule.after(latency_ms + rng.between(100, 3_000), call.arrive)
            schedule.after(timeout_ms, call.deliver, SILENCE)
        else:
            schedule.after(latency_ms, call.arrive)

    def answered(self, call: Call, answer: object) -> None:
        """A server has answered.  Its answer is on its way, if nothing happens to it."""
        fate = call.fate
        if self.cuts and (call.server.name, call.caller.name) in self.cuts:
            fate = "answer_lost"
        if fate == "answer_lost" or fate == "answer_late":
            call.silence()
        elif fate == "reset_mid_body":
            self.later(call, RESET)
        elif fate == "garbled":
            self.later(call, GARBLED)
        elif fate == "request_twice" and self._luck(call.caller, call.server).below(2):
            call.fate = ""  # the first answer is lost, and the caller hears the second
        else:
            self.later(call, answer)

    def later(self, call: Call, answer: object) -> None:
        self.schedule.after(call.back_ms, call.deliver, answer)

    def number(self) -> int:
        self._calls += 1
        return self._calls

    def cut(self, one: str, other: str) -> None:
        """Cut one direction.  Each cut needs a mend of its own."""
        self.cuts[one, other] = self.cuts.get((one, other), 0) + 1

    def mend(self, one: str, other: str) -> None:
        left = self.cuts.get((one, other), 0) - 1
        if left > 0:
            self.cuts[one, other] = left
        else:
            self.cuts.pop((one, other), None)

    def is_cut(self, one: str, other: str) -> bool:
        return (one, other) in self.cuts or (other, one) in self.cuts
