"""A state in memory that several cfm share, with a lease as the database keeps it.

`SharedState` is the database: what is committed, the lease, and a clock of its own.  A `SharedStore` is the
handle that one cfm has on it.  Neighbours: `tasks.postgres_store` is the real one, and
`tests/conformance/test_leases.py` holds both to the same promises.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import count

from cfm.errors import StateError, StoreFullError
from cfm.model import Addr
from cfm.tasks.store import Change, LeaseSeen, Member, Recovered, SupersededError
from cfm_lab.fakes.memory_store import CommittedState, MemoryStore

MEMBER_MS = 6_000


@dataclass
class SharedState:
    """The database.  `clock_ms` is its own clock, in milliseconds of unix time."""

    clock_ms: Callable[[], int]
    committed: CommittedState = field(default_factory=CommittedState)
    holder: str = ""
    address: Addr = field(default_factory=lambda: Addr(""))
    taken_ms: int = 0
    expires_ms: int = 0
    members: dict[str, tuple[int, Member]] = field(default_factory=dict)
    _names: count[int] = field(default_factory=lambda: count(1))

    def next_name(self) -> str:
        return f"holder {next(self._names)}"

    def backup(self) -> CommittedState:
        """What a backup of now would bring back."""
        state = self.committed
        return replace(
            state, tasks=dict(state.tasks), orders=dict(state.orders), arrivals=dict(state.arrivals),
            copies=dict(state.copies), pauses=dict(state.pauses), events=dict(state.events),
        )  # fmt: skip

    def restore(self, backup: CommittedState) -> None:
        """All is as it was then, the epoch too.  Whoever led then does not run any more."""
        for one in fields(CommittedState):
            setattr(self.committed, one.name, getattr(backup, one.name))
        self.holder, self.expires_ms = "", 0


class SharedStore(MemoryStore):
    """The handle of one cfm."""

    def __init__(
        self, shared: SharedState, address: Addr, lease_ms: int, wall_s: Callable[[], int] = lambda: 0
    ) -> None:
        super().__init__(shared.committed, wall_s)
        self.shared = shared
        self._address = address
        self._lease_ms = lease_ms
        self._me = ""
        self.after_commit: Callable[[int, Sequence[Change]], None] = lambda _epoch, _changes: None
        """Called with our epoch when changes are durable, before anybody hears of it."""

    def prepare(self) -> None:
        self._require_reachable()

    def hold_lease(self) -> LeaseSeen:
        self._require_reachable()
        shared = self.shared
        self._me = self._me or shared.next_name()
        now_ms = shared.clock_ms()
        if shared.holder == self._me and self._epoch in (0, self.state.epoch):
            shared.expires_ms = now_ms + self._lease_ms
        elif not self._epoch and shared.expires_ms < now_ms:
            self.state.epoch += 1
            shared.holder, shared.address, shared.taken_ms = self._me, self._address, now_ms
            shared.expires_ms = now_ms + self._lease_ms
        ours = shared.holder == self._me and self._epoch in (0, self.state.epoch)
        left_ms = max(0, shared.expires_ms - now_ms)
        return LeaseSeen(
            self.state.epoch, ours, shared.holder, shared.address, shared.taken_ms // 1000, left_ms
        )

    def resign(self) -> None:
        self._require_reachable()
        if self.shared.holder == self._me:
            self.shared.holder, self.shared.expires_ms = "", 0
        self.shared.members.pop(self._me, None)

    def meet(self, metadata: str, log_lag_s: int | None) -> list[Member]:
        self._require_reachable()
        self._me = self._me or self.shared.next_name()
        now_ms = self.shared.clock_ms()
        me = Member(self._me, self._address, metadata, log_lag_s)
        self.shared.members[self._me] = (now_ms, me)
        return [
            replace(member, seen_ms=now_ms - seen_ms)
            for name, (seen_ms, member) in sorted(self.shared.members.items())
            if name != self._me and now_ms - seen_ms < MEMBER_MS
        ]

    def open(self) -> Recovered:
        self._require_reachable()
        if not self.hold_lease().ours:
            self._me = ""
            raise StateError(f"another cfm ({self.shared.holder}) has the state")
        return self.recover()

    def recover(self) -> Recovered:
        self._require_reachable()
        if not self._me or self.shared.holder != self._me:
            raise SupersededError("another cfm has taken this state over")
        self._epoch = self.state.epoch
        return self._recovered()

    def commit(self, changes: Sequence[Change]) -> None:
        self._require_reachable()
        super().commit(changes)
        self.after_commit(self._epoch, changes)

    def close(self) -> None:
        if self._me and self.trouble is None:
            self.resign()
        self._me, self._epoch = "", 0

    def crash(self) -> None:
        """The process is gone; the lease ends by itself."""
        self._me, self._epoch = "", 0

    def _require_held(self) -> None:
        if not self._me:
            raise StateError("the state is not open")
        if self.shared.holder != self._me or self.state.epoch != self._epoch:
            raise SupersededError("another cfm has taken this state over")

    def _require_reachable(self) -> None:
        if self.trouble is not None:
            raise StoreFullError(f"cannot reach the state: {self.trouble}")
