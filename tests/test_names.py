"""Which names pass: one component, visible, printable."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfm.names import is_file_name, other_spellings


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "MXCI5B4LSGL1000051_K20180531174730.mpg",
        "drama-pilot.ep-01.mpg",
        "two words",
        "100%",
        "a#b?c",
        "한글.mpg",
        "é",
        "x" * 255,
    ],
)
def test_fine(name: str) -> None:
    assert is_file_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        ".hidden",
        "../escape",
        "a/b",
        "/",
        "..\\x",
        "a\\b",
        "a\0b",
        "a\nb",
        "\x1b[31m",
        "a\x7f",
        "\x85x",
        "a\u2028b",
        "a\u2029b",
        "gpm.\u202egnp",
        "\u2066x",
        "\u200fx",
        "\u061cx",
        "\ufeffx",
        "a\ufffdb",
        "\udcffx",
        "x" * 256,
        "한" * 86,
    ],
)
def test_refused(name: str) -> None:
    assert not is_file_name(name)


@given(st.text(st.characters(codec=None), max_size=300))
def test_what_passes_is_one_visible_component(name: str) -> None:
    if is_file_name(name):
        assert "/" not in name
        assert name not in {"", ".", ".."}
        assert len(name.encode()) <= 255
        assert len(f"file={name}".splitlines()) == 1


NFC, NFD = "\ud55c.mpg", "\u1112\u1161\u11ab.mpg"
"""One Korean syllable as one character, and as three."""


def test_names_that_look_the_same_are_found() -> None:
    assert NFC != NFD
    assert other_spellings(NFC) == (NFD,)
    assert other_spellings(NFD) == (NFC,)
    assert other_spellings("MXCI5B4LSGL1000051_K20180531174730.mpg") == ()


@given(st.text())
def test_no_name_is_its_own_other_spelling(name: str) -> None:
    assert name not in other_spellings(name)
