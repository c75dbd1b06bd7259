"""A SAN that does not answer costs a few looks, however much is wanted, and is used as soon as it is back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cfm.controller.decide import events as ev
from cfm.controller.decide.san_silence import FILES_EACH, MOST_FILES, SilenceBook
from cfm.model import File, NotOnSan, OnSan, SanAnswer, Unknown
from cfm.plan.view import Rules
from controller.node import Node, files

MINUTE_MS, HOUR_MS = 60_000, 3_600_000
SILENT = Unknown("/san does not answer", 0)


def wanted_node(number: int = 1_000) -> Node:
    return Node(files(number, 1), sources=2, destinations=2, disk_bytes=4_000, transfer_ms=1_000)


def test_a_silent_san_with_thousands_wanted_is_asked_a_few_times_an_hour() -> None:
    """There were 70 look-ups a second, and a fifth of a core went into them."""
    node = wanted_node()
    node.san_answers = False
    node.grade()
    node.run(20 * MINUTE_MS)
    assert sum(node.looks.values()) < 300, "not 70 a second"
    assert node.asked["AskSan"] < 90
    assert not node.delivered


@pytest.mark.parametrize("told", [True, False])
def test_a_san_that_is_back_is_used_at_once_or_after_the_next_trial(told: bool) -> None:
    """The index tells that it is back; where it cannot, a trial finds out."""
    node = wanted_node(200)
    node.san_answers = False
    node.send(ev.SanIndexed(None, "/san does not answer"))
    node.grade()
    node.run(HOUR_MS)
    node.san_answers = True
    if told:
        node.send(ev.SanIndexed(frozenset(node.san)))
    node.run(20_000 if told else 320_000)
    assert len(node.delivered) >= 5


def test_one_silent_folder_does_not_hold_up_what_lies_in_another() -> None:
    node = wanted_node(400)
    silent = node.san_silent = frozenset(file.name for file in node.library[::2])
    node.grade()
    node.run(HOUR_MS)
    names = {name for _at, _addr, name in node.delivered}
    assert names == {file.name for file in node.library} - silent
    assert sum(node.looks[name] for name in silent) <= len(silent) + 400
    node.san_silent = frozenset()
    node.run(HOUR_MS)
    assert len({name for _at, _addr, name in node.delivered}) == 400


def test_many_silent_files_do_not_hide_those_for_which_room_can_be_made() -> None:
    library = [replace(file, hits=max(0, 150 - file.rank)) for file in files(200)]
    node = Node(library, destinations=1, disk_bytes=2_000, rules=Rules(minimum_stay_ms=0))
    node.put(node.destinations[0], *node.library[180:198])
    node.san_silent = frozenset(file.name for file in node.library[1:100])
    node.grade()
    node.run(2 * HOUR_MS)
    there = node.workers[node.destinations[0]].files
    assert sorted(there) == ["F001.mpg", *(f"F{rank}.mpg" for rank in range(101, 118))]


def test_orders_are_not_made_and_dropped_while_the_san_is_silent() -> None:
    node = Node(files(40), destinations=1, disk_bytes=4_000)
    node.put(node.destinations[0], *node.library)  # over its limit
    node.san_answers = False
    node.grade()
    node.run(HOUR_MS)
    assert len(node.says("delete dropped")) < 40
    node.san_answers = True
    node.run(300_000)
    assert node.core.state.counts["deleted_space"]


# ── the book ────────────────────────────────────────────────────────────────────────────────────────────


def heard(book: SilenceBook, now_ms: int, **answers: SanAnswer) -> bool:
    return book.heard(answers, {name: File(name, 1, 7) for name in answers}, now_ms)


def test_trials_ask_for_a_few_files_in_turn_and_one_answer_ends_the_silence() -> None:
    book = SilenceBook()
    assert not heard(book, 0, A=OnSan("/san/A", 7), **{f"F{n}": SILENT for n in range(6)})
    assert book.trial(1_999) == []
    first = [file.name for file in book.trial(2_000)]
    assert first == ["F0", "F1", "F2", "F3"]
    assert not heard(book, 2_000, **dict.fromkeys(first, SILENT))
    assert book.trial(5_999) == []
    assert [file.name for file in book.trial(6_000)] == ["F4", "F5", "F0", "F1"]
    assert heard(book, 6_000, F4=SILENT, F5=NotOnSan())
    book.end()
    assert book.now is None
    assert book.next_trial_ms() is None


def test_other_files_are_asked_for_where_some_folder_answers() -> None:
    book, others = SilenceBook(), [File(f"G{n}", n, 7) for n in range(20)]
    heard(book, 0, A=SILENT)
    assert book.admit(others, 1_000) == []
    assert book.admit(others, 2_000) == others[:FILES_EACH]
    assert book.admit(others, 2_001) == []
    heard(book, 2_010, G0=SILENT, G1=OnSan("/san/G1", 7))
    assert book.admit(others, 2_011) == others[1:]


def test_what_is_remembered_is_bounded() -> None:
    book = SilenceBook()
    heard(book, 0, **{f"F{n}": SILENT for n in range(MOST_FILES + 100)})
    assert book.now is not None
    assert len(book.now.files) == MOST_FILES
