"""A corpus, changed at random: what a fuzzer does, as a Hypothesis strategy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hypothesis import strategies as st


def changed(corpus: Path, words: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """An input of the corpus with a few cuts, joins and insertions."""
    seeds = st.sampled_from([path.read_bytes() for path in sorted(corpus.iterdir())])
    news = st.sampled_from(words) | st.binary(max_size=4) | seeds
    changes = st.lists(st.tuples(st.integers(0, 4096), st.integers(0, 16), news), max_size=4)
    return st.tuples(seeds, changes).map(_apply)


def _apply(begin: tuple[bytes, list[tuple[int, int, bytes]]]) -> bytes:
    data, changes = begin
    for at, cut, put in changes:
        place = at % (len(data) + 1)
        data = data[:place] + put + data[place + cut :]
    return data[:4096]
