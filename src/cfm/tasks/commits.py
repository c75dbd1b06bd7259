"""The order of commits and of what waits for them.  Pure: it commits nothing itself.

Whoever drives the queue puts in the changes of each step together with what may be carried out only
afterwards. The queue says which group of changes is to be committed next.  When it is told that the group is
durable, it gives back what waited, in the order in which it was put in.  While nothing can be written it
gives nothing back, but for what need not wait so long.  Neighbours: `queue` drives it with a thread and a
store; the simulator drives the same queue in virtual time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from cfm.errors import StateError
from cfm.tasks.store import Change

T = TypeVar("T")

MAX_WAITING: Final = 100_000
"""How many steps may wait at one time; more are refused by `OverloadedError`."""


class OverloadedError(StateError):
    """Too much waits to be written; the queue did not take the step."""


class _Waiting(NamedTuple, Generic[T]):
    number: int
    changes: tuple[Change, ...]
    then: T
    patient: bool


class CommitQueue(Generic[T]):
    """What waits to be committed, and what waits for that.  `T` is what is given back."""

    def __init__(self) -> None:
        self.trouble: str | None = None
        """Why nothing can be written now; None where all is well."""
        self._waiting: deque[_Waiting[T]] = deque()
        self._put = 0
        self._group: tuple[Change, ...] | None = None
        """The changes of the group that is being committed."""
        self._group_ends = 0
        """The number of its last step."""
        self._durable = 0
        """The number of the last step that is durable."""

    def __len__(self) -> int:
        """How many steps were put in and not given back yet."""
        return len(self._waiting)

    def put(self, changes: Sequence[Change], then: T, *, patient: bool = True) -> bool:
        """Take a step.  False where there is nothing to wait for: its `then` may be carried out at once.

        What is not `patient` waits for earlier changes as well, but only as long as these can be written.

        Raises:
            OverloadedError: `MAX_WAITING` steps wait already.
        """
        hopeless = not patient and self.trouble is not None
        if not changes and (hopeless or not self._waiting):
            return False
        if len(self._waiting) >= MAX_WAITING:
            why = self.trouble or "the disk is too slow"
            raise OverloadedError(f"{MAX_WAITING} changes wait to be written: {why}")
        self._put += 1
        self._waiting.append(_Waiting(self._put, tuple(changes), then, patient))
        return True

    def next_group(self) -> tuple[Change, ...] | None:
        """The changes to be committed now, as one: of all that waits.  None where nothing waits.

        The group stays the same until it is durable.  It may be empty: then there is nothing to write.
        """
        if self._group is None and self._waiting:
            self._group = tuple(change for step in self._waiting for change in step.changes)
            self._group_ends = self._waiting[-1].number
        return self._group

    def failed(self, why: str) -> list[T] | None:
        """The group could not be written, and is to be tried again.

        Where this begins a trouble, returns what does not wait for its end; else None.
        """
        if self.trouble is not None:
            return None
        self.trouble = why
        impatient = [step.then for step in self._waiting if not step.patient]
        self._waiting = deque(step for step in self._waiting if step.patient)
        return impatient

    def committed(self) -> bool:
        """The group is durable: `released` gives back what waited for it.  True where a trouble ends by
        this."""
        self._group, self._durable = None, self._group_ends
        ended, self.trouble = self.trouble is not None, None
        return ended

    def released(self) -> Iterator[T]:
        """What waited for changes that are durable now, in order.

        Each step leaves the queue only after it was carried out.  So what is put in meanwhile stays behind
        it.
        """
        while self._waiting and self._waiting[0].number <= self._durable:
            yield self._waiting[0].then
            self._waiting.popleft()
