"""What a request to the worker's API says: who gives an order, which one, and from where."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from cfm import wire
from cfm.web import RefusedError
from cfm.worker.decide.fencing import HeaderError, Issuer, read_issuer, read_number

_ONE_ETAG: Final = re.compile(r'"[!#-~]{1,128}"')


def issuer_of(request: web.Request) -> Issuer | None:
    """In whose name the request is made.  A malformed header is refused with 409."""
    try:
        return read_issuer(request.headers)
    except HeaderError as error:
        raise RefusedError(409, str(error)) from None


def number_of(request: web.Request, header: str) -> int | None:
    """The integer in a header of an order.  A malformed one is refused with 409."""
    try:
        return read_number(request.headers, header)
    except HeaderError as error:
        raise RefusedError(409, str(error)) from None


def names_etag(if_none_match: str, etag: str) -> bool:
    """Does `If-None-Match` name this ETag?"""
    named = {one.strip().removeprefix("W/") for one in if_none_match.split(",")}
    return etag in named or "*" in named


def since_etag(headers: Mapping[str, str]) -> str:
    """The ETag of the list to which the asker wants the difference; empty where it wants whole lists."""
    wants = {one.partition(";")[0].strip() for one in headers.get(wire.ACCEPTS_MANIPULATION, "").split(",")}
    named = headers.get("If-None-Match", "").strip()
    return named if wire.NAMES_CHANGED in wants and _ONE_ETAG.fullmatch(named) else ""


def is_from_this_machine(request: web.Request) -> bool:
    """Does the request come from the loopback, or from the address that it was sent to?  No other machine
    can send from there."""
    transport = request.transport
    if transport is None:
        return False
    peer, own = transport.get_extra_info("peername")[0], transport.get_extra_info("sockname")[0]
    return bool(peer == own or ipaddress.ip_address(peer).is_loopback)
