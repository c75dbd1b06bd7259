"""A name in a path means one file exactly, or none."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfm.names import is_file_name
from cfm.web.paths import name_in

NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40).filter(is_file_name)


@given(NAMES)
def test_an_encoded_name_is_read_back(name: str) -> None:
    assert name_in("/files/" + quote(name, safe=""), "/files/") == name


@given(st.text(max_size=60))
def test_whatever_is_read_is_a_file_name(tail: str) -> None:
    try:
        name = name_in("/files/" + tail, "/files/")
    except ValueError:
        return
    assert is_file_name(name)
    assert "/" not in name


@pytest.mark.parametrize(
    ("tail", "name"),
    [
        ("MXCI5B4L_K2018.mpg", "MXCI5B4L_K2018.mpg"),
        ("a%23old.mpg", "a#old.mpg"),
        ("a%3Fb.mpg", "a?b.mpg"),
        ("100%25.mpg", "100%.mpg"),
        ("a%2541.mpg", "a%41.mpg"),
        ("100%.mpg", "100%.mpg"),
        ("50%.a%41.mpg", "50%.a%41.mpg"),
        ("%EC%98%81%ED%99%94.mpg", "영화.mpg"),
        ("영화.mpg", "영화.mpg"),
    ],
)
def test_names_are_decoded_once(tail: str, name: str) -> None:
    assert name_in("/files/" + tail, "/files/") == name


@pytest.mark.parametrize(
    "tail",
    [
        "",
        ".",
        "..",
        "%2e%2e",
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e/x",
        "a/b",
        "a%2Fb",
        ".hidden",
        "%2ehidden",
        "a%00b",
        "a%0Ab",
        "a%1Bb",
        "a%E2%80%AEb",
        "%FF.mpg",
        "\udcff.mpg",
        "x" * 256,
        "a.mpg?x=1",
        "a.mpg?",
        "a.mpg#old",
    ],
)
def test_what_is_no_name_is_refused(tail: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        name_in("/files/" + tail, "/files/")


def test_twice_encoded_dots_are_no_way_up() -> None:
    assert name_in("/files/a%252e%252e%252f", "/files/") == "a%2e%2e%2f"


def test_a_query_may_be_allowed() -> None:
    assert name_in("/content/a.mpg?in=base", "/content/", query_allowed=True) == "a.mpg"


def test_another_path_is_refused() -> None:
    with pytest.raises(ValueError, match="not a path"):
        name_in("/%66iles/a.mpg", "/files/")
