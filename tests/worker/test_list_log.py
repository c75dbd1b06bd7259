"""File lists by difference: whatever came and went, restarted or got lost, cfm has the list that is there."""

from __future__ import annotations

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cfm import wire
from cfm.fleet import answers
from cfm.model import Listing
from cfm.name_column import NameColumn
from cfm.names import is_file_name
from cfm.wire import Difference
from cfm.worker.decide.list_log import ListLog
from cfm.worker.decide.shelf_rules import Inventory

NAMES = st.one_of(
    st.sampled_from(["a", "+a", "-a", "--", "é", "a b", "ｶ", "\U0001f600", "x" * 255]),
    st.text(max_size=4).filter(is_file_name),
)
CHANGES = st.builds(
    lambda one, other: Difference(one - other, other - one),
    st.frozensets(NAMES.map(str.encode), max_size=5),
    st.frozensets(NAMES.map(str.encode), max_size=5),
)


class Asking(RuleBasedStateMachine):
    """A worker with a disk, and a cfm that asks it for its list; answers get lost, and both start anew."""

    @initialize(as_column=st.booleans(), names=st.frozensets(NAMES, max_size=8))
    def begin(self, as_column: bool, names: frozenset[str]) -> None:
        self.disk = set(names)
        self.as_column = as_column
        self.a_worker_starts()
        self.cfm_starts()

    @rule()
    def a_worker_starts(self) -> None:
        self.log = ListLog(most_steps=4, most_names=12)

    @rule()
    def cfm_starts(self) -> None:
        self.etag, self.known = "", Listing(frozenset())

    @rule(names=st.frozensets(NAMES, max_size=3))
    def files_come(self, names: frozenset[str]) -> None:
        self.disk |= names

    @rule(data=st.data())
    def a_file_goes(self, data: st.DataObject) -> None:
        if self.disk:
            self.disk.discard(data.draw(st.sampled_from(sorted(self.disk))))

    @rule()
    def somebody_else_lists(self) -> None:
        self._looked()

    @rule()
    def an_answer_is_lost(self) -> None:
        self._answer()

    @rule()
    def cfm_lists(self) -> None:
        status, body, headers = self._answer()
        if status == wire.IM_USED:
            found = answers.changed_listing(self.known, self.etag, body, headers)
            assert not isinstance(found, str), found
            self.known = found[0]
        elif status == answers.OK:
            read = answers.parse_listing(body, headers)
            assert isinstance(read, Listing)
            names = NameColumn.of_names(read.names) if self.as_column else read.names
            self.known = Listing(names)
        self.etag = headers["ETag"]
        assert set(self.known.names) == self.disk
        assert len(self.known.names) == len(self.disk)

    @invariant()
    def the_log_is_bounded(self) -> None:
        assert self.log._names <= 12
        assert len(self.log._steps) <= 4

    def _looked(self) -> tuple[str, bytes]:
        text = Inventory(tuple(sorted(self.disk)), "").text
        etag = Inventory.etag(text)
        self.log.listed(etag, text)
        return etag, text

    def _answer(self) -> tuple[int, bytes, dict[str, str]]:
        """What the worker says to `GET /files`."""
        etag, text = self._looked()
        headers = {"ETag": etag, wire.FILES: str(len(self.disk))}
        if etag == self.etag:
            return 304, b"", headers
        since = self.log.since(self.etag) if self.etag else None
        if since is None:
            return answers.OK, text, headers
        headers |= {wire.MANIPULATION: wire.NAMES_CHANGED, wire.DELTA_BASE: self.etag}
        return wire.IM_USED, wire.difference_to_text(since), headers


Asking.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
TestAsking = Asking.TestCase


@settings(max_examples=40)
@given(st.frozensets(NAMES.map(str.encode), max_size=6), CHANGES, CHANGES)
def test_two_differences_are_one(before: frozenset[bytes], one: Difference, other: Difference) -> None:
    one = Difference(one.added - before, one.removed & before)
    between = (before - one.removed) | one.added
    other = Difference(other.added - between, other.removed & between)
    both = one.then(other)
    assert (before - both.removed) | both.added == (between - other.removed) | other.added
    assert both.added.isdisjoint(before)
    assert both.removed <= before


@given(CHANGES)
def test_a_difference_is_read_as_it_was_written(changed: Difference) -> None:
    text = wire.difference_to_text(changed)
    assert wire.parse_difference(text) == changed
    assert len(text) == changed.size_bytes


@given(st.binary(max_size=40))
def test_any_bytes_are_a_difference_or_refused(text: bytes) -> None:
    try:
        changed = wire.parse_difference(text)
    except wire.WireError:
        return
    assert changed.added.isdisjoint(changed.removed)


def test_a_difference_that_is_longer_than_the_list_is_none() -> None:
    log = ListLog()
    log.listed("1", b"a\nb\nc\n")
    log.listed("2", b"d\n")
    assert log.since("1") is None
    log.listed("3", b"d\ne\n")
    assert log.since("2") == Difference(frozenset({b"e"}))
    assert log.since("0") is None


@settings(max_examples=40)
@given(CHANGES, CHANGES)
def test_a_difference_that_does_not_fit_is_not_used(changed: Difference, other: Difference) -> None:
    before = Listing(frozenset(name.decode() for name in other.added | changed.removed))
    told = len(before.names) + len(changed.added) - len(changed.removed)
    headers = {wire.DELTA_BASE: "e", wire.MANIPULATION: wire.NAMES_CHANGED, wire.FILES: str(told)}
    body = wire.difference_to_text(changed)
    fits = not {name.decode() for name in changed.added} & set(before.names)
    assert isinstance(answers.changed_listing(before, "e", body, headers), str) != fits
    assume(fits)
    for wrong in ({wire.FILES: str(told + 1)}, {wire.DELTA_BASE: "f"}, {wire.MANIPULATION: "gzip"}):
        assert isinstance(answers.changed_listing(before, "e", body, headers | wrong), str)
