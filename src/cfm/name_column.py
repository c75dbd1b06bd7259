"""Large sets of names without an object for each name.

A `NameColumn` behaves as a frozen set of names, and is a sorted array of 64-bit *keys*: 8 bytes for a name,
where Python's own set takes about 140.  A key is computed from the name's bytes, by itself (`key_of`) or for
all lines of a text at once (`keys_in`).  Two names that differ within one word of 8 bytes never have one
key, and any other two have one with a chance of 1 to 2**64; no name is deleted or copied by a key alone,
because its own server and the SAN are asked for it by name.

A few names that came or went since the array was made are kept beside it, as plain sets, so that a change
costs nothing of the size of the whole.  Small sets stay plain: a `frozenset` has the same operations, and
both may be mixed (`Names`).  What has neither clock nor file nor thread in it may use this.
"""

from __future__ import annotations

import struct
import zlib
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from cfm.model import Names
from cfm.names import MAX_NAME_BYTES

Keys: TypeAlias = npt.NDArray[np.uint64]
Integers: TypeAlias = npt.NDArray[np.int64]
Text: TypeAlias = bytes | bytearray
Number = TypeVar("Number", bound=np.integer[Any])

PLAIN_NAMES: Final = 1_000
"""Fewer names are kept as a plain set."""
_WORD: Final = 8
_LINES_AT_A_TIME: Final = 8_192
"""So many lines' words fit the processor's cache, and no step of the work holds the interpreter for long.
Larger blocks come from the kernel each time (see `memory`), which took half as much time again.
"""
_ALL: Final = 2**64 - 1
_MIXERS: Final = 0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53
"""Of MurmurHash3's finalizer.  It is one-to-one and leaves 0 as it is."""
_SKETCH: Final = 256
_ONE_BY_ONE: Final = 8
_TOGETHER: Final = 64
_GLANCE: Final = 16
_MOST_FRESH: Final = 2_000
_READ_AHEAD: Final = 1_000
_NOTHING: Final[Mapping[int, str]] = MappingProxyType({})


def _factors() -> list[int]:
    """One odd factor for the size of a name, and one for each word (splitmix64)."""
    factors, state = [], 0
    for _word in range(1 + -(-MAX_NAME_BYTES // _WORD)):
        state = (state + 0x9E3779B97F4A7C15) & _ALL
        mixed = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & _ALL
        mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB & _ALL
        factors.append(mixed ^ (mixed >> 31) | 1)
    return factors


_OF_SIZE, *_FACTORS = _factors()
_TAIL_MASKS: Final = np.array([2 ** (8 * size) - 1 for size in range(_WORD + 1)], dtype=np.uint64)
"""What is kept of a word in which so many bytes belong to the name."""


# ── keys ────────────────────────────────────────────────────────────────────────────────────────────────


@lru_cache(maxsize=65_536)
def key_of(name: str) -> int:
    """The key of one name: the sum of its words, each mixed by itself, and of something for its length."""
    data = name.encode("utf-8", "surrogatepass")
    key = len(data) * _OF_SIZE & _ALL
    for word, factor in zip(_words(data), _FACTORS, strict=False):
        mixed = word * factor & _ALL
        for mixer in _MIXERS:
            mixed = (mixed ^ (mixed >> 33)) * mixer & _ALL
        key += mixed ^ (mixed >> 33)
    return key & _ALL


def _words(data: bytes) -> tuple[int, ...]:
    number = -(-len(data) // _WORD)
    return struct.unpack(f"<{number}Q", data.ljust(number * _WORD, b"\0"))


def keys_in(text: Text) -> Keys:
    """The key of each line of a text; every line has its end.  Lines are at most `MAX_NAME_BYTES` long."""
    ends = _line_ends(text)
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1] + 1]) if len(ends) else ends
    keys = (ends - starts).astype(np.uint64) * np.uint64(_OF_SIZE)
    for begin in range(0, len(ends), _LINES_AT_A_TIME):
        part = slice(begin, begin + _LINES_AT_A_TIME)
        first, last = int(starts[begin]), int(ends[part][-1])
        _add_words(keys[part], _words_of(text, first, last), starts[part] - first, ends[part] - starts[part])
    return keys


def _words_of(text: Text, first: int, last: int) -> Keys:
    """A view of the 8 bytes from each place of a part on; the last ones may reach beyond the end of it."""
    with memoryview(text)[first:last] as part:
        padded = bytes(part) + bytes(_WORD)
    return np.ndarray((last - first + 1,), "<u8", padded, 0, (1,))


def _line_ends(text: Text) -> Integers:
    return np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n"))


_PLAIN: Final = np.zeros(256, np.bool_)
_PLAIN[list(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-\n")] = True


def unusual_lines(text: Text) -> list[bytes]:
    """The lines that may be no file names: all others have 1 to 255 plain characters, and no dot first."""
    if not text:
        return []
    data, ends = np.frombuffer(text, np.uint8), _line_ends(text)
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1] + 1])
    sizes = ends - starts
    unusual = (sizes < 1) | (sizes > MAX_NAME_BYTES) | (data[starts] == ord("."))
    odd = np.flatnonzero(~_PLAIN[data])
    unusual[np.searchsorted(ends, odd)] = True
    return [bytes(text[starts[line] : ends[line]]) for line in np.flatnonzero(unusual)]


def _add_words(keys: Keys, words: Keys, starts: Integers, sizes: Integers) -> None:
    """`key_of` for many names: their first words together, then their second ones, …

    Names mostly have about one length, so few words need a mask, and few names have no such word.
    """
    shortest, longest = int(sizes.min()), int(sizes.max())
    for number, factor in enumerate(_FACTORS[: -(-longest // _WORD)]):
        some: slice | Integers = slice(None)
        if shortest <= number * _WORD:
            some = np.flatnonzero(sizes > number * _WORD)
        mixed = words[starts[some] + number * _WORD]
        if shortest < (number + 1) * _WORD:
            mixed &= _TAIL_MASKS[np.minimum(sizes[some] - number * _WORD, _WORD)]
        mixed *= np.uint64(factor)
        for mixer in _MIXERS:
            mixed ^= mixed >> np.uint64(33)
            mixed *= np.uint64(mixer)
        mixed ^= mixed >> np.uint64(33)
        keys[some] += mixed


def keys_of(names: Collection[str]) -> Keys:
    """The keys of names, in their order.

    Many are put together as a text: for 23,000 names that takes 6 ms, where one by one they take 145 ms.
    """
    if len(names) >= _TOGETHER:
        keys = keys_in(("\n".join(names) + "\n").encode("utf-8", "surrogatepass"))
        if len(keys) == len(names):  # or a name has a line's end in it
            return keys
    return np.fromiter(map(key_of, names), np.uint64, len(names))


# ── columns ─────────────────────────────────────────────────────────────────────────────────────────────


class _Base:
    """The array of a column, and where its names are.  Columns that differ by a few names share it."""

    __slots__ = ("_memory", "_packed", "_sketch", "_sources", "_starts", "_text", "fresh", "keys")

    def __init__(
        self,
        keys: Keys,
        text: Text | None = None,
        sources: tuple[Names, ...] = (),
        fresh: Mapping[int, str] = _NOTHING,
    ) -> None:
        """`text` has the names, or else the sets that an operation made this of have them (`sources`)."""
        self.keys = keys
        """Ascending, each once."""
        self.fresh = fresh
        """Names that the list before did not have, by key: they are read most."""
        self._text, self._packed = text, b""
        self._sources = sources
        self._starts: Integers | None = None
        self._memory = keys.data
        self._sketch: tuple[list[int], frozenset[int]] | None = None

    def has(self, key: int) -> bool:
        """Is the key among them?  (numpy takes three times as long for a single one.)"""
        place = bisect_left(self._memory, key)
        return place < len(self._memory) and bool(self._memory[place] == key)

    def read(self, keys: Keys) -> Iterator[str]:
        """The names of these keys, which are all here."""
        if len(keys) <= len(self.fresh) and all(key in self.fresh for key in keys.tolist()):
            yield from (self.fresh[key] for key in keys.tolist())
        elif self._sources:
            for source in self._sources:
                found = _are_in(keys, _sorted_keys(source))
                yield from _read(source, keys[found])
                keys = keys[~found]
        elif len(keys):
            text, starts = self._readable()
            for begin in range(0, len(keys), _READ_AHEAD):  # who wants the first few does not wait for all
                places = np.searchsorted(self.keys, keys[begin : begin + _READ_AHEAD])
                for start in starts[places].tolist():
                    yield text[start : text.index(b"\n", start)].decode("utf-8", "surrogatepass")

    def _readable(self) -> tuple[Text, Integers]:
        text = zlib.decompress(self._packed) if self._text is None else self._text
        return text, _starts_by_key(text) if self._starts is None else self._starts

    def index(self) -> None:
        """Prepare for reading single names; a second for three million names."""
        self._starts = self._readable()[1]

    @property
    def is_packed(self) -> bool:
        """Does it take as little memory as it can?"""
        return self._text is None or self._starts is not None

    def pack(self) -> None:
        """Let the text take less memory, a fifth or so.  It can be read as before, more slowly."""
        if not self.is_packed:
            assert self._text is not None
            self._packed = zlib.compress(self._text, 1)
            self._text, self.fresh = None, _NOTHING

    @property
    def sketch(self) -> tuple[list[int], frozenset[int]]:
        """The lowest keys, and twice as many: of sets that are nearly alike, these are nearly alike, too."""
        if self._sketch is None:
            few: list[int] = self.keys[: 2 * _SKETCH].tolist()
            self._sketch = few[:_SKETCH], frozenset(few)
        return self._sketch


class NameColumn(AbstractSet[str]):
    """A frozen set of names."""

    __slots__ = ("_base", "_count", "_minus", "_plus")

    def __init__(
        self, base: _Base, plus: frozenset[str] = frozenset(), minus: frozenset[str] = frozenset()
    ) -> None:
        """For this module alone: make columns by `of_lines` or `of_names`."""
        self._base = base
        self._plus = plus
        """Names that are not in the array."""
        self._minus = minus
        """Names that are in the array, and do not count."""
        self._count = len(base.keys) + len(plus) - len(minus)

    @classmethod
    def of_lines(cls, text: Text, before: Names = frozenset()) -> NameColumn:
        """The names that are the lines of a text, each with its end.  A line that comes twice counts once.

        `before`: the set that this one takes the place of.  What is new is soon asked for by name.
        """
        keys = keys_in(text)
        fresh = _fresh(text, keys, _sorted_keys(before)) if before else _NOTHING
        return cls(_Base(each_once(np.sort(keys)), text, fresh=fresh))

    @classmethod
    def of_names(cls, names: Iterable[str]) -> NameColumn:
        return cls.of_lines("".join(f"{name}\n" for name in names).encode("utf-8", "surrogatepass"))

    @property
    def is_packed(self) -> bool:
        return self._base.is_packed

    def pack(self) -> None:
        """Let it take less memory: nothing has changed for a while, and nobody reads its names."""
        self._base.pack()

    def index(self) -> None:
        """Prepare for reading single names, in a thread."""
        self._base.index()

    @property
    def keys(self) -> Keys:
        """The keys of all names, ascending."""
        keys = self._base.keys
        if self._minus:
            keys = np.setdiff1d(keys, keys_of(self._minus), assume_unique=True)
        return _merged(keys, keys_of(self._plus)) if self._plus else keys

    # ── as a set ────────────────────────────────────────────────────────────────────────────────────────

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str) or name in self._minus:
            return False
        return name in self._plus or self._base.has(key_of(name))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        """The names, always in the same order."""
        for name in self._base.read(self._base.keys):
            if name not in self._minus:
                yield name
        yield from sorted(self._plus)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, AbstractSet) or len(self) != len(other):
            return False
        if isinstance(other, NameColumn) and self._base is other._base:
            return self._plus == other._plus and self._minus == other._minus
        return bool(np.array_equal(self.keys, _sorted_keys(other)))

    __hash__ = None  # type: ignore[assignment]  # as large as it is, nobody should

    def among(self, names: Iterable[str]) -> set[str]:
        """Those of these names that are in it."""
        asked = list(names)
        if len(asked) < _ONE_BY_ONE:
            return {name for name in asked if name in self}
        found = _are_in(keys_of(asked), self.keys)
        return {asked[place] for place in np.flatnonzero(found)}

    def common(self, other: Names) -> int:
        """How many names are in both."""
        shorter, longer = sorted((self.keys, _sorted_keys(other)), key=len)
        return int(np.count_nonzero(_are_in(shorter, longer)))

    def seems_disjoint(self, longer: NameColumn) -> bool:
        """Has the longer one none of its first names?  So it is for nearly all pairs."""
        return longer._base.sketch[1].isdisjoint(self._base.sketch[0][:_GLANCE])

    def may_be_like(self, other: Names, percent: int) -> bool:
        """Is so much of a sample of the shorter one in the longer one?"""
        if not isinstance(other, NameColumn):
            return True
        (few, _), (_, most) = (column.sketch for column in sorted((self, other), key=len))
        return 100 * sum(key in most for key in few) >= percent * len(few)

    @property
    def sketch(self) -> tuple[list[int], frozenset[int]]:
        return self._base.sketch

    def read(self, keys: Keys) -> Iterator[str]:
        """The names of some of its keys."""
        here = _are_in(keys, self._base.keys)
        yield from self._base.read(keys[here])
        rest = set(keys[~here].tolist())
        yield from (name for name in sorted(self._plus) if key_of(name) in rest)

    # Annotated with less than in `AbstractSet`, whose operators also take sets of other things.

    def __or__(self, other: Any) -> Any:
        if not isinstance(other, NameColumn):
            plus = {name for name in other if name not in self._plus and not self._base.has(key_of(name))}
            return NameColumn(self._base, self._plus | plus, frozenset(self._minus.difference(other)))
        if other._base is self._base:
            return NameColumn(self._base, self._plus | other._plus, self._minus & other._minus)
        return _made(_merged(self.keys, other.keys), self, other)

    def __sub__(self, other: Any) -> Any:
        if not isinstance(other, NameColumn):
            minus = {name for name in other if name not in self._minus and self._base.has(key_of(name))}
            return NameColumn(self._base, frozenset(self._plus.difference(other)), self._minus | minus)
        if other._base is self._base:
            return ((self._plus | other._minus) - self._minus) - other._plus
        return _made(np.setdiff1d(self.keys, other.keys, assume_unique=True), self)

    def __and__(self, other: Any) -> Any:
        if not isinstance(other, NameColumn):
            return frozenset(name for name in other if name in self)
        shorter, longer = sorted((self.keys, other.keys), key=len)
        return _made(shorter[_are_in(shorter, longer)], self)

    def __xor__(self, other: Any) -> Any:
        return _made(np.setxor1d(self.keys, _sorted_keys(other), assume_unique=True), self, other)

    def __rsub__(self, other: Any) -> frozenset[str]:
        return frozenset(name for name in other if name not in self)

    __ror__, __rand__, __rxor__ = __or__, __and__, __xor__

    def isdisjoint(self, other: Iterable[Any]) -> bool:
        if isinstance(other, NameColumn):
            return not self.common(other)
        return not any(name in self for name in other)


def _made(keys: Keys, *sources: Names) -> NameColumn:
    return NameColumn(_Base(keys, sources=sources))


def _read(names: Names, keys: Keys) -> Iterator[str]:
    if isinstance(names, NameColumn):
        return names.read(keys)
    wanted = set(keys.tolist())
    return (name for name in sorted(names) if key_of(name) in wanted)


def _fresh(text: Text, keys: Keys, before: Keys) -> Mapping[int, str]:
    """The names of a text that were not there before, by key; nothing where they are many."""
    lines = np.flatnonzero(~_are_in(keys, before))
    if len(lines) > _MOST_FRESH:
        return _NOTHING
    ends = _line_ends(text)
    starts = np.where(lines > 0, ends[lines - 1] + 1, 0)
    names = (text[start:end].decode("utf-8") for start, end in zip(starts, ends[lines], strict=True))
    return dict(zip(keys[lines].tolist(), names, strict=True))


def _starts_by_key(text: Text) -> Integers:
    """Where in the text the name of each key begins, in the order of the keys."""
    keys, ends = keys_in(text), _line_ends(text)
    order = np.argsort(keys, kind="stable")
    ascending = keys[order]
    first = order[np.concatenate([np.ones(1, np.bool_), ascending[1:] != ascending[:-1]])[: len(order)]]
    return np.where(first > 0, ends[first - 1] + 1, 0)


def _sorted_keys(names: Names) -> Keys:
    return names.keys if isinstance(names, NameColumn) else each_once(np.sort(keys_of(names)))


def _merged(ascending: Keys, others: Keys) -> Keys:
    """The keys of both.  (A stable sort merges what ascends already.)"""
    return each_once(np.sort(np.concatenate([ascending, others]), kind="stable"))


def each_once(ascending: npt.NDArray[Number]) -> npt.NDArray[Number]:
    """Every number of those once.

    (`np.unique`, and `np.union1d` by it, take sixty times as long, and hold the interpreter meanwhile: more
    than a second for four million keys.)
    """
    again = ascending[1:] == ascending[:-1]
    return np.delete(ascending, np.flatnonzero(again)) if again.any() else ascending


def _are_in(some: Keys, keys: Keys) -> npt.NDArray[np.bool_]:
    """Which of some keys are among these, which ascend?"""
    if not len(keys):
        return np.zeros(len(some), np.bool_)
    # Behind the last one, the last one is not it either.  (Three calls: 300 lists are asked for a few names.)
    return np.asarray(keys.take(keys.searchsorted(some), mode="clip") == some)


# ── for both kinds ──────────────────────────────────────────────────────────────────────────────────────


def among(names: Iterable[str], there: Names) -> set[str]:
    """Those of the names that are there."""
    return there.among(names) if isinstance(there, NameColumn) else {name for name in names if name in there}


class Sought:
    """Names that are looked for in one set after the other: their keys are computed and sorted once.

    The shorter side is looked for in the longer one.  To look for 12,000 names in each of a hundred lists of
    3,000 took seven times as long.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = tuple(names)
        self._sorted: tuple[Keys, Integers] | None = None
        """The keys, and which name each of them has."""

    def among(self, there: Names) -> list[str]:
        """Those of the names that are there, in any order."""
        if not isinstance(there, NameColumn):
            return [name for name in self._names if name in there] if there else []
        if self._sorted is None:
            keys = keys_of(self._names)
            order = keys.argsort()
            self._sorted = keys[order], order
        (keys, order), listed = self._sorted, there.keys
        if len(listed) < len(keys):
            places = keys.searchsorted(listed)
            found = places[keys.take(places, mode="clip") == listed]
        else:
            (found,) = _are_in(keys, listed).nonzero()
        return [self._names[place] for place in order[found].tolist()]


def common(one: Names, other: Names) -> int:
    """How many names are in both."""
    if isinstance(one, NameColumn):
        return one.common(other)
    return other.common(one) if isinstance(other, NameColumn) else len(one & other)


def in_order(names: Names) -> Iterator[str]:
    """The names, in an order that is always the same."""
    return iter(names) if isinstance(names, NameColumn) else iter(sorted(names))


class NameColumnBuilder:
    """Makes a large set of names that come one by one.  Few names become a plain set."""

    def __init__(self) -> None:
        self._new: list[str] = []
        self._text = bytearray()

    def add(self, name: str) -> None:
        self._new.append(name)
        if len(self._new) >= PLAIN_NAMES:
            self._take()

    def _take(self) -> None:
        self._text += "".join(f"{name}\n" for name in self._new).encode("utf-8", "surrogatepass")
        self._new.clear()

    def finished(self) -> Names:
        if not self._text:
            return frozenset(self._new)
        self._take()
        column = NameColumn.of_lines(self._text)
        column.index()
        return column
