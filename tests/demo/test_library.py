"""The made-up library: the same for a seed, of modest size, and popular as real ones are."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from cfm.demo import library as lib
from cfm.demo.library import Taste, make_library
from cfm.names import is_file_name


def test_a_seed_means_the_same_everywhere(tmp_path: Path) -> None:
    one, same, other = make_library(7, 20, 2), make_library(7, 20, 2), make_library(8, 20, 2)
    assert one == same
    assert one != other
    assert Taste(one).order == Taste(same).order
    assert lib.content(one, one.titles[0]) == lib.content(same, same.titles[0])
    assert lib.digest(lib.content(one, one.titles[0])) == "ed40743cb63519103f343db6eff0fd46"


@pytest.mark.parametrize("files", [8, 120, 3000])
def test_sizes_and_names(files: int) -> None:
    library = make_library(1, files, 3)
    names = [title.name for title in (*library.titles, *library.ads)]
    assert len(set(names)) == files + 3
    assert all(map(is_file_name, names))
    assert library.total_bytes < 1.2 * lib.MOST_BYTES
    if files <= 120:
        assert all(title.size_bytes >= 400_000 for title in library.titles)


def test_writing_tells_the_digest(tmp_path: Path) -> None:
    library = make_library(1, 8, 0)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    title = library.titles[0]
    digest = lib.write(library, title, tmp_path / "a", tmp_path / "b")
    for folder in ("a", "b"):
        data = (tmp_path / folder / title.name).read_bytes()
        assert len(data) == title.size_bytes
        assert lib.digest(data) == digest


def test_few_files_get_most_views() -> None:
    taste = Taste(make_library(1, 100, 0))
    views = Counter(taste.views(10_000))
    first = sum(views[name] for name in taste.order[:10])
    assert 0.4 < first / 10_000 < 0.8
    assert views.most_common(1)[0][0] == taste.order[0]


def test_taste_changes_and_keeps_every_title() -> None:
    taste = Taste(make_library(1, 100, 0))
    before = list(taste.order)
    new = taste.change(8)
    assert len(new) == 8
    assert sorted(taste.order) == sorted(before)
    assert all(before.index(name) >= 50 and taste.rank(name) <= 40 for name in new)
