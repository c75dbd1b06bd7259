"""Nothing is forgotten: after any event, a dispatch that is forced finds nothing that the core had not found.

The core learns from its books' counters what must be decided anew.  Here random things happen to a node.
Around every event the core is made to decide everything anew: before it, so that only the event can have made
anything possible, and after it, to see whether the core has done by itself all that there was to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from cfm.controller.decide import events as ev
from cfm.controller.decide.state import NodeConfig, NodeState
from cfm.model import Addr, File, Hits, Now, Status
from cfm.plan.view import Rules
from cfm.revision import Revision
from cfm.wire import TaskReport
from controller.node import OLD, OURS, Node, files

ROUNDS_AT_MOST = 50
HURRIED = Rules(
    minimum_stay_ms=20_000,
    unknown_grace_ms=30_000,
    task_timeout_ms=20_000,
    lease_ms=15_000,
    just_deleted_ms=60_000,
    space_deletes_per_minute=3,
    trims_per_minute=5,
    metadata_max_age_ms=300_000,
    san_look_ms=2_000,
)


class Watched(Node):
    """A node whose core is made to decide everything anew around each event."""

    found: list[str]

    def send(self, event: ev.Event) -> None:
        if not hasattr(self, "found"):
            self.found = []
        self._force()
        super().send(event)
        for change, effect in self._force():
            self.found.append(f"after {event}: {change or effect}")

    def _force(self) -> Iterable[tuple[object, object]]:
        """Decide everything anew, as often as it leads to something; what it led to."""
        led_to: list[tuple[object, object]] = []
        for _round in range(ROUNDS_AT_MOST):
            self.core.state.revision.dispatch += 1
            step = self.core.handle(ev.Tick(), self.now)
            deeds = [one for one in (*step.at_once, *step.after_commit) if self._is_deed(one)]
            led_to += [*((change, None) for change in step.changes), *((None, deed) for deed in deeds)]
            self.obey(step)
            if not step.changes and not deeds:
                self._wake_ms = self.core.next_wakeup_ms(self.now)
                return led_to
        raise AssertionError(f"it never comes to an end: {led_to[-4:]}")

    def _is_deed(self, effect: ev.Effect) -> bool:
        """Not a log line, nor a plan, which has a counter of its own.

        Nor a question to the SAN for which nothing waits yet, or while another one is under way: its answer
        makes the core ask on.
        """
        if isinstance(effect, ev.AskSan):
            san = self.core.state.san
            return (
                not san.asked_ms.keys() - effect.sizes.keys() - san.ahead
                and not effect.sizes.keys() <= san.ahead
            )
        return not isinstance(effect, ev.Say | ev.StartPlan)


# ── what may happen ─────────────────────────────────────────────────────────────────────────────────────

SERVER = st.integers(0, 5)
FILE = st.integers(0, 29)


def _server(node: Watched, number: int) -> Addr:
    addrs = tuple(node.workers)
    return addrs[number % len(addrs)]


def _flip(name: str) -> Callable[[Watched, int, int], None]:
    """A property of a worker turns into its opposite."""

    def flip(node: Watched, server: int, _file: int) -> None:
        worker = node.workers[_server(node, server)]
        setattr(worker, name, not getattr(worker, name))

    return flip


def _flip_node(name: str) -> Callable[[Watched, int, int], None]:
    def flip(node: Watched, _server: int, _file: int) -> None:
        setattr(node, name, not getattr(node, name))

    return flip


def _dies(node: Watched, server: int, _file: int) -> None:
    addr = _server(node, server)
    if node.workers[addr].up:
        node.kill(addr)
    else:
        node.revive(addr)


def _changes(node: Watched, server: int, file: int) -> None:
    """A worker is another program from now on, or only another process."""
    worker = node.workers[_server(node, server)]
    kinds = (OURS, OLD, replace(OURS, serves=False), replace(OURS, downloads=1 + file % 4))
    boot = f"boot-{file}" if file % 3 else worker.features.boot_id
    worker.features = replace(kinds[file % len(kinds)], boot_id=boot, disk_id=worker.features.disk_id)


def _same_disk(node: Watched, server: int, file: int) -> None:
    """A disk has another id: its own, or that of another server."""
    worker = node.workers[_server(node, server)]
    if worker.features.ours:
        worker.features = replace(worker.features, disk_id=_server(node, file))


def _foreign(node: Watched, server: int, file: int) -> None:
    """Other software adds a file, or takes one away."""
    there = node.workers[_server(node, server)].files
    wanted = node.library[file % len(node.library)]
    if there.pop(wanted.name, None) is None:
        there[wanted.name] = wanted.size_bytes


def _disk(node: Watched, server: int, file: int) -> None:
    node.workers[_server(node, server)].disk_bytes = 400 + 60 * file


def _limit(node: Watched, server: int, file: int) -> None:
    node.workers[_server(node, server)].limit_percent = (None, 60, 80, 95)[file % 4]


def _rises(node: Watched, server: int, file: int) -> None:
    library = node.library
    rising = {library[(file + step) % len(library)].name: 5 + step for step in range(server % 3)}
    watched = frozenset({library[(2 * file) % len(library)].name} if server % 2 else ())
    found = tuple(f for f in library if f.name in rising)
    node.send(ev.HitsChanged(Hits(rising, watched), found))


def _graded(node: Watched, server: int, file: int) -> None:
    """New metadata: other ranks; sometimes they are old, and sometimes they are rejected."""
    turned = [*node.library[file:], *node.library[:file]]
    library = [replace(one, rank=rank) for rank, one in enumerate(turned, 1)]
    node.grade(library, age_s=1_000 if server == 5 else 60)
    node.send(ev.HitsChanged(node.core.state.hits, ()))


def _rules(node: Watched, server: int, file: int) -> None:
    rules = node.core.state.rules
    limit_percent = (90, 50, 95)[file % 3]
    node.send(ev.RulesChanged(replace(rules, deletes_on=server % 4 != 0, limit_percent=limit_percent)))


def _store(node: Watched, _server: int, _file: int) -> None:
    trouble = node.core.state.store_trouble
    node.send(ev.StoreRecovered() if trouble else ev.StoreTrouble("no space left"))


def _san(node: Watched, server: int, file: int) -> None:
    """The source folders lose a file, get one back, or are looked through."""
    name = node.library[file % len(node.library)].name
    if server % 3 == 0:
        node.send(ev.SanIndexed(frozenset(node.san) if node.san_answers else None, "gone"))
    elif node.san.pop(name, None) is None:
        node.san[name] = 100


def _confirm(node: Watched, server: int, _file: int) -> None:
    node.send(ev.BreakerReleased(node.request(), _server(node, server) if server % 2 else None))


def _cancel(node: Watched, _server: int, file: int) -> None:
    tasks = [*node.core.state.tasks.active, *node.core.state.tasks.ended]
    if tasks:
        node.send(ev.TaskDropped(node.request(), tasks[file % len(tasks)]))


def _fails(node: Watched, server: int, file: int) -> None:
    node.workers[_server(node, server)].fails ^= {node.library[file % len(node.library)].name}


def _busy(node: Watched, _server: int, file: int) -> None:
    """A worker says that the source of its task serves others."""
    tasks = list(node.core.state.tasks.active.values())
    if tasks:
        task = tasks[file % len(tasks)]
        node.send(
            ev.TaskReported(node.request(), task.id, TaskReport(Status.FAILED, error="busy", retry_after_s=7))
        )


def _received(node: Watched, _server: int, file: int) -> None:
    tasks = list(node.core.state.tasks.active.values())
    if tasks:
        task = tasks[file % len(tasks)]
        node.send(
            ev.TaskReported(node.request(), task.id, TaskReport(Status.WORKING, done_bytes=9, received=True))
        )


def _restart(node: Watched, _server: int, _file: int) -> None:
    node.restart()
    node.grade()


def _time(node: Watched, server: int, file: int) -> None:
    node.run((100, 1_000, 5_000, 20_000, 70_000, 200_000)[server] * (1 + file % 2))


def _written(node: Watched, _server: int, file: int) -> None:
    """Somebody begins to write a file on the SAN, or ends it."""
    node.being_written ^= {node.library[file % len(node.library)].name}


def _written_anew(node: Watched, server: int, file: int) -> None:
    """In a moment; and the index of the SAN is there, or not."""
    node.written_ms[node.library[file % len(node.library)].name] = node.now.wall_ms
    node.send(ev.SanIndexed(frozenset(node.san) if server else None))


HAPPENINGS: tuple[Callable[[Watched, int, int], None], ...] = (
    _time,
    _dies,
    _changes,
    _same_disk,
    _foreign,
    _disk,
    _limit,
    _rises,
    _graded,
    _rules,
    _store,
    _san,
    _confirm,
    _cancel,
    _fails,
    _busy,
    _received,
    _restart,
    _written,
    _written_anew,
    _flip("lists"),
    _flip("measures"),
    _flip("reports"),
    _flip("loses_delete_answers"),
    _flip("refuses_deletes"),
    _flip_node("san_answers"),
    _flip_node("confirms"),
    _flip_node("frees"),
    _flip_node("cuts"),
    _flip_node("stuck"),
)
WORLD = st.tuples(
    st.integers(1, 3),
    st.integers(1, 4),
    st.sampled_from([OURS, OLD]),
    st.booleans(),
    st.integers(0, 20),
)
STORY = st.lists(st.tuples(st.sampled_from(HAPPENINGS), SERVER, FILE, st.integers(0, 3)), max_size=40)


@given(WORLD, STORY)
@example((3, 1, OURS, False, 3), [(_rises, 1, 17, 2)])  # a breaker lets more go when more is used
@example((1, 1, OURS, False, 3), [(_graded, 0, 2, 3), (_rules, 1, 1, 2)])  # it lets more go after an eviction
@example((1, 1, OURS, False, 9), [(_time, 0, 0, 0), (_graded, 0, 3, 3)])  # an eviction makes a bundle smaller
@example((3, 1, OLD, True, 13), [(_time, 4, 0, 0)])  # a new list shows that two servers have two disks
@example(
    (3, 1, OLD, True, 9), [(_disk, 4, 23, 0), *5 * [(_time, 0, 0, 0)], (_time, 5, 0, 0)]
)  # so may a `/df`
@example((1, 1, OLD, False, 8), [(_dies, 0, 0, 2), (_written, 0, 7, 0), (_time, 0, 0, 2)])  # a file changes
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)
def test_whatever_happens_a_forced_dispatch_finds_nothing_new(
    world: tuple[int, int, object, bool, int],
    story: list[tuple[Callable[[Watched, int, int], None], int, int, int]],
) -> None:
    sources, destinations, features, both, placed = world
    node = Watched(
        [replace(file, size_bytes=60 + 20 * (file.rank % 7)) for file in files(30)],
        sources=sources,
        destinations=destinations,
        features=features,  # type: ignore[arg-type]  # Hypothesis forgets the kind
        both=both,
        rules=HURRIED,
        transfer_ms=3_000,
    )
    for number, file in enumerate(node.library[:placed]):
        for copy in range(1 + number % 3):
            node.put(node.destinations[(number + copy) % len(node.destinations)], file)
    node.grade()
    node.run(2_000)
    for happens, server, file_number, seconds in story:
        happens(node, server, file_number)
        node.run(1_000 * seconds)
    assert not node.found


def test_all_books_of_a_node_share_one_revision() -> None:
    one = Addr("127.0.1.1:8888")
    state = NodeState(NodeConfig((one,), (one,), Rules()), 0, Now(0, 0))
    books = {name: book for name, book in vars(state).items() if hasattr(book, "revision")}
    assert len(books) >= 14
    assert all(book.revision is state.revision for book in books.values())
    assert all(isinstance(book.revision, Revision) for book in books.values())


@pytest.mark.parametrize("counter", ["dispatch", "orders", "plan"])
def test_a_node_at_rest_counts_nothing_but_its_looks(counter: str) -> None:
    """Answers that repeat what is known are no changes."""
    node = Node([File("F001.mpg", 1, 100)], destinations=2)
    node.grade()
    node.run(3_600_000 + 120_000)
    revision = node.core.state.revision
    before, minutes = getattr(revision, counter), 30
    node.run(minutes * 60_000)
    looks = {"dispatch": minutes, "orders": 0, "plan": minutes}
    assert getattr(revision, counter) - before <= looks[counter] + 1
