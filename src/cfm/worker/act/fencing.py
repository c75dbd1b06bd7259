"""The holder of the binding: whom this worker obeys now.

`decide.fencing` has the rules.  What changes the binding is durable in `state` before it counts.  `serve.api`
asks here about each order, and `link` says what answers from `cfm_addr` carry.  The shelf asks once more,
from a thread, right before it unlinks a file.
"""

from __future__ import annotations

import asyncio

from cfm.worker.act.state import WorkerState
from cfm.worker.decide.fencing import (
    Binding,
    Issuer,
    Obey,
    Refuse,
    Verdict,
    hear,
    judge,
    judge_delete,
    raise_fence,
    raises_epoch,
    speaks_for,
)

_NOBODY = Binding("", 0)


class Authority:
    """The current binding.  Changes come one at a time."""

    def __init__(self, state: WorkerState, binding: Binding | None) -> None:
        self._state = state
        self._binding = binding
        self._early = _NOBODY
        """The fence of a controller that this worker does not belong to yet.  Orders of that controller may
        be under way already."""
        self._changing = asyncio.Lock()

    @property
    def binding(self) -> Binding | None:
        """Whom this worker belongs to.  May be read from any thread."""
        return self._binding

    async def order(self, issuer: Issuer | None) -> str | None:
        """Why an order is refused; None where it is obeyed.  A higher epoch is remembered before."""
        async with self._changing:
            return await self._accept(judge(self._binding, issuer))

    async def delete_order(self, issuer: Issuer | None, number: int | None) -> str | None:
        """The same for the delete order of that number."""
        async with self._changing:
            return await self._accept(judge_delete(self._binding, issuer, number))

    def still(self, issuer: Issuer | None, number: int | None) -> bool:
        """Is a delete order that was accepted before still to be obeyed?  May be asked from any thread."""
        return isinstance(judge_delete(self._binding, issuer, number), Obey)

    async def fence(self, issuer: Issuer | None, fence: int) -> str | None:
        """Refuse delete orders below `fence` from now on.  Returns why not, if this sender may not say so."""
        async with self._changing:
            if self._binding is None and issuer is not None:
                same = speaks_for(self._early, issuer)
                early = self._early if same else Binding(issuer.controller, issuer.epoch)
                self._early = raise_fence(early, fence)
                return None
            verdict = judge(self._binding, issuer)
            if isinstance(verdict, Obey) and verdict.binding is not None:
                verdict = Obey(raise_fence(verdict.binding, fence))
            return await self._accept(verdict)

    async def heed(self, issuer: Issuer | None) -> None:
        """Obey a higher epoch of our controller, whatever the request that carries it asks for."""
        if raises_epoch(self._binding, issuer):
            await self.order(issuer)

    async def hear(self, issuer: Issuer) -> bool:
        """Take in what an answer from `cfm_addr` carries.  Does it speak for the controller we obey?"""
        if not speaks_for(self._binding, issuer):
            async with self._changing:
                binding = hear(self._binding, issuer)
                if self._binding is None and speaks_for(self._early, issuer):
                    binding = raise_fence(binding, self._early.fence)
                await self._keep(binding)
        return speaks_for(self._binding, issuer)

    def obeys(self, issuer: Issuer | None) -> bool:
        """Is this the very start of our controller that we heard of last?"""
        return issuer is not None and speaks_for(self._binding, issuer)

    def may_obey(self, issuer: Issuer) -> bool:
        """Is it our controller, or may it become ours?"""
        return self._binding is None or self._binding.controller == issuer.controller

    async def release(self) -> Binding | None:
        """Forget the controller, whoever it is.  Returns what the binding was."""
        async with self._changing:
            return await self._forget()

    async def release_by(self, issuer: Issuer) -> Binding | Refuse | None:
        """The same on the word of a controller: only our own may free this worker."""
        async with self._changing:
            verdict = judge(self._binding, issuer)
            if self._binding is not None and isinstance(verdict, Refuse):
                return verdict
            return await self._forget()

    async def _forget(self) -> Binding | None:
        was, self._early = self._binding, _NOBODY
        await self._keep(None)
        return was

    async def _accept(self, verdict: Verdict) -> str | None:
        if isinstance(verdict, Refuse):
            return verdict.why
        await self._keep(verdict.binding)
        return None

    async def _keep(self, binding: Binding | None) -> None:
        if binding != self._binding:
            await self._state.bind(binding)
            self._binding = binding
