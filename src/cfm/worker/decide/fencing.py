"""Whom a worker obeys: the rules.

Pure.  A worker belongs to the controller from whose `cfm_addr` it first heard an epoch.  These functions are
the whole of "Orders" in `docs/http-api.md`.  `act.fencing` holds the current binding and keeps it durable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from cfm import wire


@dataclass(frozen=True, slots=True)
class Binding:
    """Whom this worker obeys: one controller, from its highest epoch on, and no overtaken orders."""

    controller: str
    epoch: int
    fence: int = 0
    """Delete orders of that epoch with a lower number were overtaken by a listing."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """In whose name a request or an answer speaks."""

    controller: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Obey:
    """Carry the order out.  Remember `binding` before."""

    binding: Binding | None


@dataclass(frozen=True, slots=True)
class Refuse:
    why: str


Verdict: TypeAlias = Obey | Refuse


class HeaderError(ValueError):
    """A header of an order (`Cfm-Controller`, `Cfm-Epoch`, `Cfm-Order`, `Cfm-Fence`) is malformed."""


def read_issuer(headers: Mapping[str, str]) -> Issuer | None:
    """The controller and epoch in a message's headers; None where the message names neither.

    Raises:
        HeaderError: the message names only one of the two, or one of them is malformed.
    """
    controller, epoch = headers.get(wire.CONTROLLER), headers.get(wire.EPOCH)
    if controller is None and epoch is None:
        return None
    number = wire.decimal(epoch)
    if not controller or wire.token(controller) != controller or number is None:
        raise HeaderError(f"{wire.CONTROLLER} must be an id and {wire.EPOCH} an integer")
    return Issuer(controller, number)


def read_number(headers: Mapping[str, str], header: str) -> int | None:
    """The integer in a header (`Cfm-Order`, `Cfm-Fence`); None where the header is missing.

    Raises:
        HeaderError: it is not an integer.
    """
    text = headers.get(header)
    number = wire.decimal(text)
    if text is not None and number is None:
        raise HeaderError(f"{header} must be an integer")
    return number


def judge(binding: Binding | None, issuer: Issuer | None) -> Verdict:
    """May whoever sends this give orders to a worker with this binding?"""
    if binding is None:
        if issuer is None:
            return Obey(None)
        return Refuse("this worker has not yet heard from its cfm_addr which controller it belongs to")
    if issuer is None:
        return Refuse("this worker obeys only orders with an epoch of its controller; `cfw release` frees it")
    if issuer.controller != binding.controller:
        return Refuse("this worker belongs to another controller; `cfw release` frees it")
    if issuer.epoch < binding.epoch:
        return Refuse(f"epoch {issuer.epoch} is over: this worker has heard epoch {binding.epoch}")
    return Obey(_at_epoch(binding, issuer.epoch))


def judge_delete(binding: Binding | None, issuer: Issuer | None, order: int | None) -> Verdict:
    """The same for a delete order.  No listing may have overtaken it."""
    verdict = judge(binding, issuer)
    if not isinstance(verdict, Obey) or verdict.binding is None or verdict.binding.fence == 0:
        return verdict
    if order is None:
        return Refuse(f"the order has no {wire.ORDER}")
    if order < verdict.binding.fence:
        return Refuse(f"order {order} was overtaken by a listing: the fence is {verdict.binding.fence}")
    return verdict


def hear(binding: Binding | None, issuer: Issuer) -> Binding:
    """The binding after an answer from `cfm_addr`.  Another controller there changes nothing."""
    if binding is None:
        return Binding(issuer.controller, issuer.epoch)
    if issuer.controller != binding.controller:
        return binding
    return _at_epoch(binding, issuer.epoch)


def raises_epoch(binding: Binding | None, issuer: Issuer | None) -> bool:
    """Does the message carry a higher epoch of the controller that this worker belongs to?"""
    if binding is None or issuer is None:
        return False
    return issuer.controller == binding.controller and issuer.epoch > binding.epoch


def speaks_for(binding: Binding | None, issuer: Issuer) -> bool:
    """Is this the very start of the controller that the binding names?"""
    return binding is not None and (binding.controller, binding.epoch) == (issuer.controller, issuer.epoch)


def raise_fence(binding: Binding, fence: int) -> Binding:
    return replace(binding, fence=max(binding.fence, fence))


def _at_epoch(binding: Binding, epoch: int) -> Binding:
    """Most messages carry the epoch that is known already.

    A higher one needs no fence of before: orders of the lower ones are refused whatever their number.  And
    its own orders may have lower numbers, where the clock and the state of cfm were put back.
    """
    return binding if epoch <= binding.epoch else replace(binding, epoch=epoch, fence=0)
