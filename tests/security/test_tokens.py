"""Tokens: what is derived from what, and what a token file may hold."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfm.model import Addr
from cfm.security.tokens import PersonPass, Secret, TokenError, WorkerPass, parse_holding

SECRET = Secret("correct horse battery staple")
ONE, TWO = SECRET.worker(Addr("127.0.2.1:8888")), SECRET.worker(Addr("127.0.2.2:8888"))


def test_no_two_uses_share_a_token() -> None:
    tokens = [ONE.report, ONE.order, TWO.report, TWO.order, ONE.content, SECRET.operator, SECRET.reader]
    assert all(len(token) == 64 for token in tokens)
    assert all(one != another for one, another in itertools.combinations(tokens, 2))


def test_workers_share_what_they_show_each_other() -> None:
    assert ONE.content == TWO.content
    assert ONE.reader == TWO.reader == SECRET.reader


def test_tokens_stay_the_same_over_releases() -> None:
    """Passes that were handed out must go on working."""
    assert ONE.report == "681bfc218f2ac9e4c680244fc03de9a23e80378fcd38efb6017ba4054ec5092b"
    assert SECRET.operator == "4413d0ad203e1a3afb15d87fb57393586c894fc366e9ec32d53ad0957d552b90"


@pytest.mark.parametrize("addr", ["127.0.2.1:8888", "[::1]:8888", "vod-7.example:80"])
def test_a_pass_is_read_as_it_was_written(addr: str) -> None:
    made = SECRET.worker(Addr(addr))
    assert parse_holding(made.text) == made
    assert parse_holding(f"reader:{SECRET.reader}") == PersonPass("reader", SECRET.reader)


def test_anything_long_enough_is_a_secret() -> None:
    found = parse_holding("correct horse battery staple")
    assert isinstance(found, Secret)
    assert found.operator == SECRET.operator


@pytest.mark.parametrize(
    "line",
    [
        "too short",
        "x" * 1025,
        "a secret with a \x1b in it",
        "worker:127.0.2.1:8888",
        "worker:127.0.2.1:8888:abc:def",
        f"worker::{'0' * 64}:{'0' * 64}",
        f"operator:{'0' * 63}",
        f"reader:{'0' * 63}\N{DIGIT ZERO}0",
        "operator:",
    ],
)
def test_what_is_damaged_or_weak_is_refused(line: str) -> None:
    with pytest.raises(TokenError) as refused:
        parse_holding(line)
    assert line not in str(refused.value)


@given(st.text(max_size=300))
def test_no_line_does_more_than_a_token_error(line: str) -> None:
    try:
        held = parse_holding(line)
    except TokenError:
        return
    assert isinstance(held, Secret | WorkerPass | PersonPass)


def test_nothing_secret_is_shown_by_accident() -> None:
    for held in (SECRET, ONE, PersonPass("reader", SECRET.reader)):
        shown = f"{held!r} {held}"
        for private in ("correct horse", ONE.key.hex(), ONE.node_key.hex(), SECRET.reader):
            assert private not in shown
            assert repr(ONE.key) not in shown
