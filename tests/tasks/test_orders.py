"""Delete orders in memory: one unfinished for a file, unknown until listed again, and the pace."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cfm.model import Addr, DeleteKind, DeleteOrder, File, Now, OrderStatus
from cfm.tasks.lifecycle import ORDER_EDGES, ORDER_LIFE, IllegalChangeError, OrderEvent, is_final
from cfm.tasks.orders import MINUTE_MS, OrderBook

ONE, TWO = Addr("127.0.2.1:8888"), Addr("127.0.2.2:8888")
S = OrderStatus


def order(
    order_id: int, name: str = "F.mpg", server: Addr = ONE, status: OrderStatus = S.ORDERED
) -> DeleteOrder:
    return DeleteOrder(order_id, status, 0, 0, File(name, 1, 100), server, DeleteKind.SPACE, "")


def at(mono_ms: int) -> Now:
    return Now(mono_ms, 1_700_000_000_000 + mono_ms)


def test_an_order_is_unknown_from_the_answer_that_did_not_tell() -> None:
    book = OrderBook()
    book.add(order(1), 0)
    sent = book.change(order(1), OrderEvent.SENT, at(10))
    assert not book.waiting()
    book.change(sent, OrderEvent.UNCLEAR, at(5_000), "no answer within 5 s")
    assert [made.id for made in book.unknown_at(ONE)] == [1]
    assert not book.unknown_at(TWO)
    assert not book.settled_by(ONE, 4_999, 0), "asked before the order went wrong"
    assert book.settled_by(ONE, 5_000, 0)
    assert not book.settled_by(ONE, 14_999, 10_000), "an old worker may still be carrying it out"
    assert book.settled_by(ONE, 15_000, 10_000)


def test_what_was_sent_before_a_restart_is_unknown_since_then() -> None:
    book = OrderBook()
    for order_id, status in enumerate((S.ORDERED, S.SENT, S.UNKNOWN), 1):
        book.recover(order(order_id, f"F{order_id}", status=status), 77)
    assert book.unknown_ms == {2: 77, 3: 77}
    assert [made.id for made in book.waiting()] == [1]
    assert not book.last_minute(77), "they were counted when they were ordered"


def test_the_pace_counts_the_last_minute_by_server_and_kind() -> None:
    book = OrderBook()
    book.add(order(1, "A"), 0)
    book.add(replace(order(2, "B"), kind=DeleteKind.SURPLUS), 1_000)
    book.add(order(3, "C", TWO), 2_000)
    assert book.last_minute(2_000) == {
        (ONE, DeleteKind.SPACE): 1,
        (ONE, DeleteKind.SURPLUS): 1,
        (TWO, DeleteKind.SPACE): 1,
    }
    assert book.pace_ends_ms() == MINUTE_MS
    assert book.last_minute(MINUTE_MS) == {(ONE, DeleteKind.SURPLUS): 1, (TWO, DeleteKind.SPACE): 1}
    assert book.last_minute(10 * MINUTE_MS) == {}
    assert book.pace_ends_ms() is None


class OrderMachine(RuleBasedStateMachine):
    """Whatever is tried: only rows of the table, at most one unfinished order for a file, no leftovers."""

    def __init__(self) -> None:
        super().__init__()
        self.book = OrderBook()
        self.last: dict[int, DeleteOrder] = {}
        self.now_ms = 0

    @rule(name=st.sampled_from("ABC"), server=st.sampled_from([ONE, TWO]))
    def a_delete_is_ordered(self, name: str, server: Addr) -> None:
        if name not in self.book.by_file:
            made = order(len(self.last) + 1, name, server)
            self.last[made.id] = made
            self.book.add(made, self.now_ms)

    @precondition(lambda self: self.last)
    @rule(data=st.data(), event=st.sampled_from(OrderEvent))
    def something_is_learned(self, data: st.DataObject, event: OrderEvent) -> None:
        self.now_ms += 1
        made = self.last[data.draw(st.sampled_from(sorted(self.last)))]
        try:
            self.last[made.id] = self.book.change(made, event, at(self.now_ms))
        except IllegalChangeError:
            assert event not in ORDER_LIFE[made.status]
        else:
            assert self.last[made.id].status is ORDER_LIFE[made.status][event]

    @invariant()
    def books_agree(self) -> None:
        unfinished = {i: made for i, made in self.last.items() if not is_final(ORDER_EDGES, made.status)}
        assert self.book.active == unfinished
        assert {made.id: made for made in self.book.by_file.values()} == unfinished, "one for each file"
        assert self.book.ordered_ms.keys() == unfinished.keys()
        assert self.book.unknown_ms.keys() == {
            i for i, made in unfinished.items() if made.status is S.UNKNOWN
        }


TestOrderMachine = OrderMachine.TestCase
TestOrderMachine.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
