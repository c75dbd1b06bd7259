"""Who holds which file: the answers are those of a plain index over all lists, whatever was asked before."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cfm.fleet.holders import Holders
from cfm.model import Addr, Names
from cfm.name_column import NameColumn

NAMES = "ABCDEF"
ADDRS = [Addr(f"10.0.0.{number}:80") for number in range(3)]
AN_ADDR, A_NAME = st.sampled_from(ADDRS), st.sampled_from(NAMES)


class Asking(RuleBasedStateMachine):
    """Lists change, plans teach, and single files are asked for in between."""

    @initialize()
    def begin(self) -> None:
        self.holders = Holders()
        self.lists: dict[Addr, Names] = {}
        self.planned: dict[Addr, Names] = {}

    @rule(addr=AN_ADDR, names=st.frozensets(A_NAME), as_column=st.booleans())
    def a_list_comes(self, addr: Addr, names: frozenset[str], as_column: bool) -> None:
        self.lists[addr] = NameColumn.of_names(names) if as_column else names
        self.holders.hold(addr, self.lists[addr])

    @rule(addr=AN_ADDR, name=A_NAME, came=st.booleans())
    def one_file_comes_or_goes(self, addr: Addr, name: str, came: bool) -> None:
        before = self.lists.get(addr, frozenset())
        self.lists[addr] = before | {name} if came else before - {name}
        (self.holders.came if came else self.holders.went)(addr, name, self.lists[addr])

    @rule()
    def a_plan_begins(self) -> None:
        self.planned = dict(self.lists)

    @rule(asked=st.frozensets(A_NAME))
    def a_plan_ends(self, asked: frozenset[str]) -> None:
        found = {name: self.by(self.planned, name) for name in asked}
        self.holders.learn(found, self.planned)

    @rule(name=A_NAME)
    def somebody_asks(self, name: str) -> None:
        assert self.holders.get(name, frozenset()) == self.by(self.lists, name)
        assert (name in self.holders) == bool(self.by(self.lists, name))

    @invariant()
    def what_is_remembered_is_right(self) -> None:
        for name, found in self.holders._known.items():
            assert found == self.by(self.lists, name)

    def by(self, lists: dict[Addr, Names], name: str) -> frozenset[Addr]:
        return frozenset(addr for addr, names in lists.items() if name in names)


TestAsking = Asking.TestCase
