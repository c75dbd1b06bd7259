"""Runs the demo: it starts everything, lets viewers watch, carries out the acts, and ends everything.

Neighbours: `stage` has prepared it, `scenario` says what happens when, and `truth` checks the result.  The
live view gets a `Frame` several times a second.  The caller gets a `Summary` at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import itertools
import signal
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

import aiohttp

from cfm.demo import stage as staging
from cfm.demo import truth as truths
from cfm.demo.metadata import EventLog, View
from cfm.demo.postgres import PostgresServer, find_postgres
from cfm.demo.processes import Janitor, stop_all
from cfm.demo.scenario import Act, ActKind, timetable
from cfm.demo.stage import Center, Options, Server, Stage
from cfm.demo.truth import Truth
from cfm.demo.watching import Busy, Watcher
from cfm.errors import CfmError, SettingsError

LOOK_EVERY_S: Final = 0.25
VIEWS_PER_S: Final = 4.0
CROWD_VIEWS: Final = 14
"""How many viewers discover a file within a few seconds."""
NEW_TITLES: Final = 8
REST_PATIENCE_S: Final = 20.0
"""How long the demo waits at its end for the node to come to rest."""
AT_REST_S: Final = 1.5
FAILS_OVER_S: Final = 15.0
"""So long after the end of a leader nobody need report what it did last."""
DECISIONS_KEPT: Final = 50


@dataclass(frozen=True, slots=True)
class Frame:
    """The present state of the demo, for the live view."""

    elapsed_s: float
    act: str
    status: Mapping[str, Any]
    decisions: Sequence[Mapping[str, Any]]
    violations: Sequence[str]


@dataclass(frozen=True, slots=True)
class Summary:
    """The result of the demo."""

    seconds: float
    files_delivered: int
    bytes_delivered: int
    files_deleted: int
    source_busy_fraction: float | None
    surplus_copies: int
    over_limit_servers: int
    violations: Sequence[str]
    dashboard: str
    finished: bool
    """It ran to its end, so the node should be at rest.  False where somebody stopped it early."""
    kept_folder: Path | None = None
    """Settings, logs, databases and disks as they were; None where they are removed."""

    @property
    def exit_code(self) -> int:
        at_fault = self.violations or (self.finished and (self.surplus_copies or self.over_limit_servers))
        return 3 if at_fault else 0

    def to_json(self) -> dict[str, Any]:
        busy = self.source_busy_fraction
        return {
            "seconds": round(self.seconds, 1),
            "files_delivered": self.files_delivered,
            "bytes_delivered": self.bytes_delivered,
            "files_deleted": self.files_deleted,
            "source_busy_fraction": None if busy is None else round(busy, 4),
            "surplus_copies": self.surplus_copies,
            "over_limit_servers": self.over_limit_servers,
            "violations": len(self.violations),
            "violation_texts": list(self.violations[:20]),
            "finished": self.finished,
            "dashboard": self.dashboard,
            "kept_folder": None if self.kept_folder is None else str(self.kept_folder),
        }


OnStage: TypeAlias = Callable[[Stage], None]
OnFrame: TypeAlias = Callable[[Frame], None]
OnAct: TypeAlias = Callable[[str], None]


async def play(options: Options, *, on_stage: OnStage, on_act: OnAct, on_frame: OnFrame) -> Summary:
    """Run the whole demo.

    Raises:
        CfmError: the demo could not start, or one of its programs ended.
    """
    stop = asyncio.Event()
    async with AsyncExitStack() as closing:
        closing.enter_context(_stopped_by_signals(stop))
        root, janitor = await closing.enter_async_context(_folder(options))
        stage = staging.make_stage(options, root)
        on_stage(stage)
        if options.controllers > 1:
            stage.state_url = closing.enter_context(_database(root)).url()
        await asyncio.to_thread(staging.set_up, stage, time.time())
        closing.push_async_callback(stop_all, stage.programs)
        await _start(stage, stop)
        watcher = await closing.enter_async_context(Watcher(*(center.addr for center in stage.centers)))
        summary = await Play(stage, watcher, stop, on_act, on_frame).run()
        if summary.violations:
            await janitor.keep()
        kept = options.keep or bool(summary.violations)
        return replace(summary, kept_folder=root if kept else None)
    raise AssertionError("not reached")


def _database(root: Path) -> PostgresServer:
    """Where several cfm have their state.  It is started by this thread, which lasts as long as the demo.

    Raises:
        CfmError: PostgreSQL is not installed here.
    """
    programs = find_postgres()
    if programs is None or importlib.util.find_spec("psycopg") is None:
        what = (
            "psycopg (pip install 'cfm[postgresql]')"
            if programs
            else "PostgreSQL (on Debian: apt install postgresql)"
        )
        raise CfmError(f"several cfm need {what}")
    folder = root / staging.DATABASE
    folder.mkdir()
    for one in (root, folder):  # where this is root, the database runs as another user
        one.chmod(0o711)
    return PostgresServer(programs, folder=folder)


class StoppedError(CfmError):
    """Somebody stopped the demo before it began."""


async def _start(stage: Stage, stop: asyncio.Event) -> None:
    """Start all programs at the same time.  Give up where somebody stops the demo meanwhile."""
    starting = asyncio.gather(*(program.start() for program in stage.programs))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            raise StoppedError("the demo was stopped before it began")
        await starting
    finally:
        stopping.cancel()
        starting.cancel()
        await asyncio.gather(starting, stopping, return_exceptions=True)


@contextlib.contextmanager
def _stopped_by_signals(stop: asyncio.Event) -> Any:
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


@asynccontextmanager
async def _folder(options: Options) -> AsyncIterator[tuple[Path, Janitor]]:
    """The folder of the demo, and who removes it at the end, unless it is kept or existed before."""
    root, existed = _made_folder(options.folder)
    parts = [root / part for part in staging.parts(options)] if existed else [root]
    async with Janitor([] if options.keep else parts) as janitor:
        yield root, janitor


def _made_folder(wanted: Path | None) -> tuple[Path, bool]:
    if wanted is None:
        return Path(tempfile.mkdtemp(prefix="cfm-demo-")), False
    existed = wanted.exists()
    try:
        wanted.mkdir(parents=True, exist_ok=True)
        empty = not any(wanted.iterdir())
    except OSError as error:
        raise SettingsError(f"--dir {wanted}: {error.strerror}") from error
    if not empty:
        raise SettingsError(f"--dir {wanted} is not empty: choose a new folder, or an empty one")
    return wanted.resolve(), existed


@dataclass(slots=True)
class Play:
    """One run of the demo."""

    stage: Stage
    watcher: Watcher
    stop: asyncio.Event
    on_act: OnAct
    on_frame: OnFrame
    began_s: float = field(default_factory=time.monotonic)
    truth: Truth = field(init=False)
    log: EventLog = field(init=False)
    busy: Busy = field(default_factory=Busy)
    decisions: deque[Mapping[str, Any]] = field(default_factory=lambda: deque(maxlen=DECISIONS_KEPT))
    act: str = ""
    status: Mapping[str, Any] = field(default_factory=dict)
    viewing: bool = True
    acts_done: bool = False
    crowd: deque[str] = field(default_factory=deque)
    """Views of a discovered file that are still to come."""
    dead: Server | None = None
    dead_center: Center | None = None
    _reading: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        titles = self.stage.library.named()
        self.truth = Truth(
            quotas={server.addr: server.quota_bytes for server in self.stage.destinations},
            limit_percent=staging.LIMIT_PERCENT,
            digests=self.stage.digests,
            sizes={name: title.size_bytes for name, title in titles.items()},
        )
        self.log = EventLog(self.stage.lb, self.stage.options.seed)

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.began_s

    async def run(self) -> Summary:
        """Run until the time is over and the node is at rest, or until somebody stops the demo."""
        self.truth.begin(await asyncio.to_thread(truths.look, self._disks()))
        jobs = [
            asyncio.create_task(job)
            for job in (
                self.watcher.follow(self._told),
                self._look_for_ever(),
                self._poll_for_ever(),
                self._viewers(),
                self._acts(),
            )
        ]
        ending = asyncio.create_task(self._until_over())
        try:
            done, _ = await asyncio.wait((*jobs, ending), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            return await self._summary(finished=not self.stop.is_set())
        finally:
            for job in (*jobs, ending, *self._reading):
                job.cancel()
            await asyncio.gather(*jobs, ending, *self._reading, return_exceptions=True)

    def _disks(self) -> dict[Any, Path]:
        return {server.addr: server.disk for server in self.stage.destinations}

    async def _until_over(self) -> None:
        """Wait until the demo is stopped, or until all acts are over and the node is at rest, or should
        be."""
        seconds = self.stage.options.seconds
        if seconds is None:
            await self.stop.wait()
            return
        if await self._stopped_within(seconds):
            return
        rested_s = 0.0
        while self.elapsed_s < seconds + REST_PATIENCE_S and rested_s < AT_REST_S:
            rested_s = rested_s + LOOK_EVERY_S if self._at_rest() else 0.0
            if await self._stopped_within(LOOK_EVERY_S):
                return

    async def _stopped_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stop.wait()
        return self.stop.is_set()

    def _at_rest(self) -> bool:
        """Is nothing under way?  From then on the disks must be in order."""
        busy = self.status.get("transfers") or self.status.get("deletes")
        return self.acts_done and bool(self.status) and not busy and not self._reading

    async def _summary(self, *, finished: bool) -> Summary:
        await asyncio.gather(*self._reading)
        self.truth.saw(await asyncio.to_thread(truths.look, self._disks()), self.elapsed_s)
        return Summary(
            seconds=self.elapsed_s,
            files_delivered=self.truth.files_delivered,
            bytes_delivered=self.truth.bytes_delivered,
            files_deleted=self.truth.files_deleted,
            source_busy_fraction=self.busy.fraction,
            surplus_copies=self.truth.surplus_copies(),
            over_limit_servers=self.truth.over_limit_servers(),
            violations=tuple(self.truth.violations),
            dashboard=self.stage.dashboard,
            finished=finished,
        )

    # ── watching ────────────────────────────────────────────────────────────────────────────────────────

    async def _look_for_ever(self) -> None:
        """Look at the disks again and again, and read every file that appears."""
        while True:
            seen = await asyncio.to_thread(truths.look, self._disks())
            for place in self.truth.saw(seen, self.elapsed_s):
                reading = asyncio.create_task(self._read(place))
                self._reading.add(reading)
                reading.add_done_callback(self._reading.discard)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _read(self, place: truths.CopyPlace) -> None:
        disk = self._disks()[place.server]
        self.truth.read(place, await asyncio.to_thread(truths.digest_of, disk / place.name))

    async def _poll_for_ever(self) -> None:
        """Ask cfm for its status again and again.  All programs must run, except one that an act has
        killed."""
        while True:
            await self._keep_alive()
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                asked = self.watcher.leader
                self.status = await self.watcher.status()
                if self.watcher.leader != asked:
                    self.busy.begin_anew()
                sent_s, at_s = await self.watcher.source_busy_s(), time.monotonic()
                self.truth.status(self.status)
                self.busy.sample(self.status, self.truth.sizes, sent_s, at_s)
                self.on_frame(self._frame())
            await asyncio.sleep(LOOK_EVERY_S)

    def _frame(self) -> Frame:
        return Frame(self.elapsed_s, self.act, self.status, list(self.decisions), self.truth.violations)

    async def _keep_alive(self) -> None:
        """A worker that somebody killed is started again, as a supervisor does.

        A program that ends by itself ends the demo.  So does a killed cfm, for the decisions of that time
        are lost to the truth.
        """
        for center in self.stage.centers:
            if not center.program.running and center is not self.dead_center and not self.stop.is_set():
                await self._center_ended(center)
        for server in self.stage.servers:
            program = server.program
            if server is self.dead or program.running or self.stop.is_set():
                continue
            if not program.killed:
                raise CfmError(f"{program.name} ended: {program.last_words()}")
            self.on_act(f"{program.name} was killed by somebody: it is started again")
            await self._start_again(server)

    async def _center_ended(self, center: Center) -> None:
        """One of several that somebody killed is started again; it follows then."""
        program = center.program
        if len(self.stage.centers) == 1 or not program.killed:
            raise CfmError(f"{program.name} ended, and the demo with it: {program.last_words()}")
        self.truth.leader_died(self.elapsed_s + FAILS_OVER_S)
        self.on_act(f"{center.addr} was killed by somebody: it is started again, and follows")
        await program.start()

    async def _start_again(self, server: Server) -> None:
        """Its files may count as lost meanwhile, and be copied to others."""
        self.truth.died(server.addr)
        try:
            await server.program.start()
        except CfmError:
            if server is not self.dead:  # an act may have killed it meanwhile
                raise
        if server is not self.dead:
            self.truth.came_back(server.addr, self.elapsed_s)

    def _told(self, event: Mapping[str, Any]) -> None:
        self.decisions.append(event)
        self.truth.told(event, self.elapsed_s)
        if event.get("event") == "deleted file" and event.get("kind") == "space":
            self.busy.departed.add(str(event["file"]))

    # ── viewers ─────────────────────────────────────────────────────────────────────────────────────────

    async def _viewers(self) -> None:
        """Let a few viewers a second watch a popular file, at a server that holds it."""
        for tick in itertools.count():
            names = [self.crowd.popleft() for _ in range(min(1, len(self.crowd)))]
            if self.viewing:
                names += self.stage.taste.views(int(VIEWS_PER_S * LOOK_EVERY_S * (tick % 2) * 2))
            self.log.append((View(name, self._served_by(name)) for name in names), time.time())
            await asyncio.sleep(LOOK_EVERY_S)

    def _served_by(self, name: str) -> str:
        """The server that the load balancer chooses: one that holds the file, or the one that reads from the
        SAN."""
        dead = self.dead.addr if self.dead else None
        for server in self.stage.destinations:
            if server.addr != dead and name in self.truth.disks[server.addr].files:
                return server.ip
        return staging.SAN_IP

    # ── acts ────────────────────────────────────────────────────────────────────────────────────────────

    async def _acts(self) -> None:
        acts = {
            ActKind.OPEN: self._open,
            ActKind.DISCOVER: self._discover,
            ActKind.NEW_TASTE: self._new_taste,
            ActKind.FAIL_OVER: self._fail_over,
            ActKind.KILL: self._kill,
            ActKind.REVIVE: self._revive,
            ActKind.REST: self._rest,
        }
        for act in timetable(self.stage.options.seconds):
            if act.kind is ActKind.FAIL_OVER and len(self.stage.centers) == 1:
                continue
            await asyncio.sleep(max(0.0, act.at_s - self.elapsed_s))
            self.act = await acts[act.kind](act)
            self.on_act(self.act)
        self.acts_done = True
        await asyncio.Event().wait()

    async def _open(self, _act: Act) -> str:
        first = self.stage.destinations[0].addr
        return (
            f"act 1: the evening begins. The most wanted files go to the disks; {first} is above its limit, "
            f"and some files have two copies"
        )

    async def _discover(self, _act: Act) -> str:
        """Viewers discover a file that is on no disk, while the disks are full."""
        self.viewing = True
        placed = self.truth.holders()
        lower = self.stage.taste.order[len(self.stage.taste.order) // 2 :]
        unplaced = [name for name in lower if name not in placed]
        if not unplaced:
            return "act 2: viewers look around; every file is on a disk already"
        name = self.stage.taste.pick(unplaced)
        self.crowd.extend([name] * CROWD_VIEWS)
        rank = self.stage.taste.rank(name)
        return f"act 2: viewers discover {name} (rank {rank}), which is on no disk: room is made for it"

    async def _new_taste(self, _act: Act) -> str:
        """Write a grade file in which other files are wanted."""
        new = self.stage.taste.change(min(NEW_TITLES, max(1, len(self.stage.taste.order) // 8)))
        ips = {server.addr: server.ip for server in self.stage.destinations}
        holders = {name: [ips[s] for s in on] for name, on in self.truth.holders().items()}
        await asyncio.to_thread(self.stage.write_metadata, holders, time.time())
        return (
            f"act 3: taste changes. {len(new)} files from the lower half are in demand now, such as {new[0]}"
        )

    async def _fail_over(self, _act: Act) -> str:
        """Kill whoever leads, wait until another one does, and bring the first one back."""
        center = next(one for one in self.stage.centers if one.addr == self.watcher.leader)
        self.dead_center = center
        self.truth.leader_died(self.elapsed_s + FAILS_OVER_S)
        await center.program.kill()
        died_s = self.elapsed_s
        self.act = f"a cfm falls: {center.addr}, which leads, dies (kill -9). Copies that run go on"
        self.on_act(self.act)
        while self.watcher.leader == center.addr and self.elapsed_s - died_s < FAILS_OVER_S:
            if await self._stopped_within(LOOK_EVERY_S):
                break
        took_s = self.elapsed_s - died_s
        await center.program.start()
        self.dead_center = None
        if self.watcher.leader == center.addr:
            return f"nobody else led within {FAILS_OVER_S:g} s"
        return f"{self.watcher.leader} leads now, after {took_s:.1f} s. {center.addr} is back, and follows"

    async def _kill(self, act: Act) -> str:
        """Kill a destination, if possible while it receives a file."""
        destinations = self.stage.destinations
        self.dead = destinations[(act.turn + 1) % len(destinations)]
        self.truth.died(self.dead.addr)
        await self.dead.program.kill()
        held = len(self.truth.disks[self.dead.addr].files)
        return (
            f"act 4: {self.dead.addr} dies (kill -9) with {held} files. After a while they count as lost, "
            f"and the wanted ones are copied to others"
        )

    async def _revive(self, _act: Act) -> str:
        back = self.dead
        assert back is not None
        await back.program.start()
        self.dead = None
        self.truth.came_back(back.addr, self.elapsed_s)
        return f"act 5: {back.addr} is back with its old files: files with two copies are trimmed to one"

    async def _rest(self, _act: Act) -> str:
        self.viewing = False
        return "act 6: the viewers go to bed. The node comes to rest"
