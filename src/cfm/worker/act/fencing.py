"""Whom a worker obeys: the rules (pure), and the one holder of the current binding.

A worker belongs to the controller from whose `cfm_addr` it first heard an epoch.  `judge` is the whole
table of `docs/http-api.md`; `Authority` keeps its outcome in `state` before it counts.  `api` asks it about
every order, `link` tells it what answers from `cfm_addr` say, and the shelf asks it once more, from a thread,
right before a file is unlinked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from cfm import wire
from cfm.worker.act.state import Binding, WorkerState


@dataclass(frozen=True, slots=True)
class Claim:
    """In whose name a request or an answer speaks."""

    controller: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Obey:
    """Do it, and remember `binding` before."""

    binding: Binding | None


@dataclass(frozen=True, slots=True)
class Refuse:
    why: str


Verdict: TypeAlias = Obey | Refuse


class ClaimError(ValueError):
    """The headers that say in whose name a request speaks are not what the contract says."""


def read_claim(headers: Mapping[str, str]) -> Claim | None:
    """The claim in a message's headers; None where it makes none.  `ClaimError` for half of one."""
    controller, epoch = headers.get(wire.CONTROLLER), headers.get(wire.EPOCH)
    if controller is None and epoch is None:
        return None
    number = wire.decimal(epoch)
    if not controller or wire.token(controller) != controller or number is None:
        raise ClaimError(f"{wire.CONTROLLER} and {wire.EPOCH} are an id and an integer")
    return Claim(controller, number)


def read_number(headers: Mapping[str, str], header: str) -> int | None:
    """An integer header (`Cfm-Order`, `Cfm-Fence`); None where it is missing."""
    text = headers.get(header)
    number = wire.decimal(text)
    if text is not None and number is None:
        raise ClaimError(f"{header} is not an integer")
    return number


def judge(binding: Binding | None, claim: Claim | None) -> Verdict:
    """May whoever makes this claim give orders to a worker that is bound like this?"""
    if binding is None:
        if claim is None:
            return Obey(None)
        return Refuse("this worker has not yet heard from its cfm_addr to whom it belongs")
    if claim is None:
        return Refuse("this worker belongs to a controller with epochs; `cfw release` frees it")
    if claim.controller != binding.controller:
        return Refuse("this worker belongs to another controller; `cfw release` frees it")
    if claim.epoch < binding.epoch:
        return Refuse(f"epoch {claim.epoch} is over: {binding.epoch} was heard")
    return Obey(_at_epoch(binding, claim.epoch))


def judge_delete(binding: Binding | None, claim: Claim | None, order: int | None) -> Verdict:
    """As `judge`, and the order must not have been overtaken by a listing."""
    verdict = judge(binding, claim)
    if not isinstance(verdict, Obey) or verdict.binding is None or verdict.binding.fence == 0:
        return verdict
    if order is None:
        return Refuse(f"an order without {wire.ORDER}")
    if order < verdict.binding.fence:
        return Refuse(f"order {order} was overtaken: the fence is {verdict.binding.fence}")
    return verdict


def hear(binding: Binding | None, claim: Claim) -> Binding:
    """The binding after an answer from `cfm_addr`; another controller there changes nothing."""
    if binding is None:
        return Binding(claim.controller, claim.epoch)
    if claim.controller != binding.controller:
        return binding
    return _at_epoch(binding, claim.epoch)


def _at_epoch(binding: Binding, epoch: int) -> Binding:
    """Most messages tell the epoch that is known already."""
    return binding if epoch <= binding.epoch else replace(binding, epoch=epoch)


def raise_fence(binding: Binding, fence: int) -> Binding:
    return replace(binding, fence=max(binding.fence, fence))


class Authority:
    """The current binding.  What changes it is durable before it counts; changes come one at a time."""

    def __init__(self, state: WorkerState, binding: Binding | None) -> None:
        self._state = state
        self._binding = binding
        self._early = Binding("", 0)
        """A fence of a controller that we do not belong to yet: its orders may be under way already."""
        self._changing = asyncio.Lock()

    @property
    def binding(self) -> Binding | None:
        """Whom we belong to; may be read from any thread."""
        return self._binding

    async def order(self, claim: Claim | None) -> str | None:
        """Why an order in this name is refused; None, with a higher epoch remembered, where it is not."""
        async with self._changing:
            return await self._accept(judge(self._binding, claim))

    async def delete_order(self, claim: Claim | None, number: int | None) -> str | None:
        """As `order`, for a delete of that number."""
        async with self._changing:
            return await self._accept(judge_delete(self._binding, claim, number))

    def still(self, claim: Claim | None, number: int | None) -> bool:
        """Is a delete that was let through still to be obeyed?  From any thread."""
        return isinstance(judge_delete(self._binding, claim, number), Obey)

    async def fence(self, claim: Claim | None, fence: int) -> str | None:
        """Refuse deletes below `fence` from now on; why not, where this controller may not say so."""
        async with self._changing:
            if self._binding is None and claim is not None:
                self._early = Binding(claim.controller, claim.epoch, fence)
                return None
            verdict = judge(self._binding, claim)
            if isinstance(verdict, Obey) and verdict.binding is not None:
                verdict = Obey(raise_fence(verdict.binding, fence))
            return await self._accept(verdict)

    async def hear(self, claim: Claim) -> bool:
        """An answer to our own request at `cfm_addr`; whether it speaks for the controller we obey."""
        if not self._knows(claim):
            async with self._changing:
                binding = hear(self._binding, claim)
                if self._binding is None and self._early.controller == claim.controller:
                    binding = raise_fence(binding, self._early.fence)
                await self._keep(binding)
        return self._knows(claim)

    def _knows(self, claim: Claim) -> bool:
        """Is it made in the name of whom we obey, and of no other start of theirs than the last we know?"""
        binding = self._binding
        return binding is not None and (binding.controller, binding.epoch) == (claim.controller, claim.epoch)

    async def release(self) -> Binding | None:
        """Forget the controller; what it was."""
        async with self._changing:
            was, self._early = self._binding, Binding("", 0)
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
