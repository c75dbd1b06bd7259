"""Keeps the lease of one of several cfm, or waits for it, and tells how things stand.

It asks the database as `decide.leadership` says, in threads that may hang, and brings the answers back.  It
also tells the other cfm that this one is there, and hears of them.  Neighbours: `controller.several` acts on
a change of state, `act.loop` asks `acts_until_ms` before each deed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import structlog

from cfm.controller.decide.leadership import Leadership, LeaderState
from cfm.controller.decide.own_troubles import OwnTroubleKind
from cfm.errors import CfmError, StateError, StoreFullError
from cfm.model import Now
from cfm.tasks.store import LeasedStore, LeaseSeen, Member
from cfm.threads import HungError, ThreadPool

log = structlog.get_logger(__name__)

MEET_MS: Final = 2_000
ALONE_MS: Final = 15_000
"""How long after its start a leader without followers says so; a restart of the other one takes seconds."""
SLOW_MS: Final = 300
NEARLY_LOST_TOLD_MS: Final = 60_000
PREPARE_S: Final = 600.0
RESIGN_S: Final = 1.0


class KeptError(CfmError):
    """The lead cannot be handed over."""


class LeaseKeeper:
    """Runs a `Leadership` in real time."""

    def __init__(
        self,
        store: LeasedStore,
        leadership: Leadership,
        clock: Callable[[], Now],
        tell: Callable[[OwnTroubleKind, str], None],
        facts: Callable[[], tuple[str, int | None]],
    ) -> None:
        """`tell` takes what is wrong, and an empty text once it is well again.  `facts` gives the id of the
        metadata in force, and the lag behind the event log."""
        self.leadership = leadership
        self.followers: list[Member] = []
        """All other cfm that were heard of lately."""
        self.changed = asyncio.Event()
        """Set when the state of the leadership has changed."""
        self._store, self._clock, self._tell, self._facts = store, clock, tell, facts
        self._threads = ThreadPool("the database", 3)
        self._is_prepared = False
        self._told: dict[OwnTroubleKind, str] = {}
        self._answer_ms = 0
        self._nearly_lost_ms: int | None = None
        self._meet_ms = 0
        self._began_ms = clock().mono_ms

    @property
    def answer_ms(self) -> int:
        """How long the database took for its last answer."""
        return self._answer_ms

    async def run(self) -> None:
        """Ask and watch until cancelled.  Once this cfm never leads again, there is nothing to do."""
        while not self.leadership.has_ended:
            now_ms = self._clock().mono_ms
            self._look(now_ms)
            if now_ms >= self.leadership.next_ms:
                await self._ask()
            elif now_ms >= self._meet_ms and self._is_prepared:
                await self._meet()
            else:
                due_ms = min(self.leadership.next_look_ms(), max(self._meet_ms, now_ms + 1))
                await asyncio.sleep(max(1, due_ms - now_ms) / 1000)
        await asyncio.Event().wait()

    def stop_acting(self) -> None:
        """Do nothing any more from now on."""
        self.leadership.give_up(self._clock().mono_ms)
        self.changed.set()

    def hand_over(self, asker: str) -> dict[str, Any]:
        """Stop acting, because a person wants another cfm to lead.  Returns who led, and who may follow.

        Raises:
            KeptError: this one does not lead, or no other one was heard of lately.
        """
        leader = self.leadership
        if leader.state is not LeaderState.LEADING:
            raise KeptError("this cfm does not lead at this moment: ask again")
        if not self.followers:
            raise KeptError("no other cfm was heard of: there is no one to hand over to")
        log.warning("the lead is handed over", epoch=leader.epoch, by=asker)
        self.stop_acting()
        return {
            "from": None if leader.seen is None else leader.seen.address,
            "epoch": leader.epoch,
            "others": [one.address for one in self.followers],
        }

    async def resign(self) -> None:
        """Let another cfm have the lease at once, after `stop_acting` and the last commit."""
        try:
            await self._threads.run(RESIGN_S, self._store.resign)
        except (StateError, HungError) as error:
            log.warning("cannot give the lease up, so it ends by itself", why=str(error))

    def close(self) -> None:
        self._threads.close()

    async def _ask(self) -> None:
        asked = self._clock()
        left_ms = self.leadership.left_ms(asked.mono_ms)
        self.leadership.asked(asked.mono_ms)
        seen = await self._answer()
        now = self._clock()
        before = self.leadership.state
        self.leadership.answered(asked.mono_ms, seen, now.mono_ms)
        self._answer_ms = now.mono_ms - asked.mono_ms
        if before is LeaderState.LAPSED or (before is LeaderState.LEADING and left_ms < self._scarce_ms()):
            self._nearly_lost_ms = now.mono_ms
        self._note_change(before)
        self._look(now.mono_ms)

    async def _answer(self) -> LeaseSeen | str:
        """What the database says, or why it says nothing."""
        terms = self.leadership.terms
        try:
            if not self._is_prepared:
                await self._threads.run(PREPARE_S, self._store.prepare)
                self._is_prepared = True
            return await self._threads.run(terms.answer_ms / 1000, self._store.hold_lease)
        except (StoreFullError, HungError) as error:
            return str(error)

    async def _meet(self) -> None:
        self._meet_ms = self._clock().mono_ms + MEET_MS
        metadata, log_lag_s = self._facts()
        try:
            wait_s = self.leadership.terms.answer_ms / 1000
            self.followers = await self._threads.run(wait_s, lambda: self._store.meet(metadata, log_lag_s))
        except (StoreFullError, HungError):
            return  # the question for the lease tells of it

    def _scarce_ms(self) -> int:
        return self.leadership.terms.renew_ms // 2

    def _note_change(self, before: LeaderState) -> None:
        leader = self.leadership
        if leader.state is not before:
            log.warning("leadership", state=leader.state.value, epoch=leader.epoch or leader.told_epoch)
            self.changed.set()

    # ── what is told ────────────────────────────────────────────────────────────────────────────────────

    def _look(self, now_ms: int) -> None:
        before = self.leadership.state
        self.leadership.look_at_clock(now_ms)
        self._note_change(before)
        leads = self.leadership.state in (LeaderState.LEADING, LeaderState.LAPSED)
        self._say(OwnTroubleKind.DATABASE_AWAY, self.leadership.trouble or "")
        self._say(OwnTroubleKind.FOLLOWS, "" if leads else self._who_leads())
        slow = f"it took {self._answer_ms} ms for a small question" if self._answer_ms >= SLOW_MS else ""
        self._say(OwnTroubleKind.DATABASE_SLOW, "" if self.leadership.trouble else slow)
        alone = leads and not self.followers and now_ms - self._began_ms >= ALONE_MS
        self._say(OwnTroubleKind.NO_FOLLOWER, "none was heard of" if alone else "")
        lost_ms = self._nearly_lost_ms
        lately = lost_ms is not None and now_ms - lost_ms < NEARLY_LOST_TOLD_MS
        self._say(OwnTroubleKind.LEASE_NEARLY_LOST, "it was renewed late" if leads and lately else "")

    def _who_leads(self) -> str:
        seen = self.leadership.seen
        if seen is None:
            return "nobody is known to lead"
        if not seen.left_ms:
            return "nobody leads now"
        return f"{seen.address} leads ({seen.name})"

    def _say(self, kind: OwnTroubleKind, why: str) -> None:
        if self._told.get(kind, "") != why:
            self._told[kind] = why
            self._tell(kind, why)

    def say_again(self) -> None:
        """Whoever is told has forgotten it."""
        told, self._told = self._told, {}
        for kind, why in told.items():
            self._say(kind, why)

    def told_json(self, now: Now) -> dict[str, Any]:
        """How things stand, for the status."""
        leader, seen = self.leadership, self.leadership.seen
        return {
            "state": leader.state.value,
            "since_at": now.wall_s - (now.mono_ms - leader.since_ms) // 1000,
            "epoch": leader.epoch or leader.told_epoch,
            "leader": None
            if seen is None or not (seen.left_ms or seen.ours)
            else {"addr": seen.address, "name": seen.name, "since_at": seen.taken_s},
            "acts_for_s": round(leader.left_ms(now.mono_ms) / 1000, 1),
            "database_ms": self._answer_ms,
            "database_trouble": leader.trouble,
            "others": [
                {
                    "addr": one.address,
                    "name": one.name,
                    "heard_s": round(one.seen_ms / 1000, 1),
                    "metadata": one.metadata or None,
                    "log_lag_s": one.log_lag_s,
                }
                for one in self.followers
            ],
        }
