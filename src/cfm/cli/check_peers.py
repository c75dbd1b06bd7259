"""What `check` finds doubtful about the servers that settings name: one quick heartbeat to each.

A silent server is no error; it may be started later.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import aiohttp

from cfm import wire
from cfm.cli.check_world import doubt
from cfm.config import CfmSettings, split_address
from cfm.config.problems import SettingsProblem, shown
from cfm.fleet import answers
from cfm.fleet.client import NO_TOKENS
from cfm.model import Addr, Transfer

PATIENCE_S = 2.0


@dataclass(frozen=True, slots=True)
class PeerAnswer:
    """A worker's answer to a heartbeat; an old worker says no more than that it is alive."""

    addr: Addr
    silent_because: str = ""
    ours: bool = False
    builtin: bool = False
    serves: bool = False
    limit_percent: int | None = None
    disk_id: str = ""
    probe: str = ""


def listen_to(
    addresses: Sequence[Addr],
    patience_s: float = PATIENCE_S,
    *,
    tokens: Mapping[Addr, str] = NO_TOKENS,
    tls: ssl.SSLContext | None = None,
) -> list[PeerAnswer]:
    """One heartbeat to each server, all at once; with credentials where there are some."""
    return asyncio.run(_listen_to(addresses, patience_s, tokens, tls))


async def _listen_to(
    addresses: Sequence[Addr], patience_s: float, tokens: Mapping[Addr, str], tls: ssl.SSLContext | None
) -> list[PeerAnswer]:
    timeout = aiohttp.ClientTimeout(total=patience_s)
    connector = aiohttp.TCPConnector(limit=0, ssl=tls or True)
    scheme = "http" if tls is None else "https"
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        return await asyncio.gather(
            *(_heartbeat(session, scheme, addr, tokens.get(addr)) for addr in addresses)
        )


async def _heartbeat(
    session: aiohttp.ClientSession, scheme: str, addr: Addr, token: str | None
) -> PeerAnswer:
    shown = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        async with session.head(f"{scheme}://{addr}/hb", headers=shown, allow_redirects=False) as answer:
            if answer.status != 200:
                return PeerAnswer(addr, answers.wrong_status(answer.status, answer.headers).detail)
            limit = answer.headers.get("Cfw-Limit-Percent", "")
            return PeerAnswer(
                addr,
                ours="Cfw-Version" in answer.headers,
                builtin=answer.headers.get("Cfw-Transfer") == Transfer.BUILTIN,
                serves=answer.headers.get("Cfw-Serves") == "true",
                limit_percent=int(limit) if limit.isascii() and limit.isdigit() and len(limit) < 4 else None,
                disk_id=answer.headers.get(wire.DISK, ""),
                probe=answer.headers.get(wire.PROBE, ""),
            )
    except TimeoutError:
        return PeerAnswer(addr, "does not answer")
    except (aiohttp.ClientError, OSError) as error:
        return PeerAnswer(addr, f"cannot be reached ({_why(error)})")


def peer_doubts(settings: CfmSettings, heard: Sequence[PeerAnswer]) -> Iterator[SettingsProblem]:
    """Silent servers, differing limits, one disk twice, sources that some destinations cannot copy from."""
    servers = settings.servers
    for one in heard:
        key = "servers.sources" if one.addr in servers.sources else "servers.destinations"
        if one.silent_because:
            yield doubt(key, f"{one.addr} {one.silent_because}", "start its cfw, or correct the address")
        elif one.addr in servers.destinations:
            yield from _limit_doubts(settings, one)
    yield from _disk_doubts(settings, heard)
    yield from _transfer_doubts(settings, heard)


def _disk_doubts(settings: CfmSettings, heard: Sequence[PeerAnswer]) -> Iterator[SettingsProblem]:
    """The id that a worker of ours keeps in its `base_dir` shows that two addresses are one disk."""
    lowest: dict[str, Addr] = {}
    for one in sorted(heard, key=lambda one: one.addr):
        if not one.disk_id or one.addr not in settings.servers.destinations:
            continue
        first = lowest.setdefault(one.disk_id, one.addr)
        if first != one.addr:
            text = f"{one.addr} is the same disk as {first}, and is not used while that one is"
            yield doubt("servers.destinations", text, "give each server a disk of its own, or take one out")


def _limit_doubts(settings: CfmSettings, one: PeerAnswer) -> Iterator[SettingsProblem]:
    ours, theirs = settings.remover.storage_usage_limit_percent, one.limit_percent
    if theirs is not None and theirs != ours:
        key = "remover.storage_usage_limit_percent"
        text = f"{ours} here and {theirs} at {one.addr}: the lower one, {min(ours, theirs)}, holds there"
        yield doubt(key, text, "write the same limit in both files")


def _transfer_doubts(settings: CfmSettings, heard: Sequence[PeerAnswer]) -> Iterator[SettingsProblem]:
    """A built-in transfer needs a source that serves `/content`."""
    builtin = [one.addr for one in heard if one.builtin and one.addr in settings.servers.destinations]
    for one in heard:
        if not builtin or one.silent_because or one.serves or one.addr not in settings.servers.sources:
            continue
        if one.ours:
            why, remedy = "serves no source folder", "name source_dirs in its cfw.yml"
        else:
            why, remedy = "runs an old cfw", "install the new cfw there"
        text = f"{one.addr} {why}, so copies from it need an external downloader,"
        text += f" and {len(builtin)} destinations ({builtin[0]} …) have none"
        yield doubt("servers.sources", text, f"{remedy}, or set downloader_bin on the destinations")


def controller_doubts(address: Addr, patience_s: float = PATIENCE_S) -> list[SettingsProblem]:
    """Does anybody listen where a worker expects its cfm?"""
    why = asyncio.run(_why_not_connected(address, patience_s))
    if why is None:
        return []
    return [doubt("cfm_addr", f"{address} cannot be reached ({why})", "start cfm, or correct the address")]


async def _why_not_connected(address: Addr, patience_s: float) -> str | None:
    host, port = split_address(address)
    try:
        async with asyncio.timeout(patience_s):
            _, writer = await asyncio.open_connection(host or "127.0.0.1", port)
    except TimeoutError:
        return "no answer"
    except OSError as error:
        return _why(error)
    writer.close()
    return None


def _why(error: Exception) -> str:
    number = error.errno if isinstance(error, OSError) else None
    return os.strerror(number).lower() if number and number > 0 else shown(str(error), 100)
