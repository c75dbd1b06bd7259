"""The simulator's random numbers: splitmix64, as it is written down, however many are drawn at once."""

from __future__ import annotations

import zlib

from hypothesis import given
from hypothesis import strategies as st

from cfm_lab.sim.environment.rng import MASK, Rng

GAMMA = 0x9E3779B97F4A7C15


class OneByOne:
    """The generator as its author gives it."""

    def __init__(self, seed: int) -> None:
        self.state = seed & MASK

    def bits(self) -> int:
        self.state = z = (self.state + GAMMA) & MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    def below(self, end: int) -> int:
        return (self.bits() * end) >> 64

    def fork(self, purpose: str) -> OneByOne:
        return OneByOne(self.state ^ (zlib.crc32(purpose.encode()) * GAMMA))


def test_the_first_numbers_are_those_that_are_published() -> None:
    rng = Rng(0)
    assert [rng.below(1 << 64) for _ in range(3)] == [
        0xE220A8397B1DCDAF,
        0x6E789E6AA1B965F4,
        0x06C45D188009454F,
    ]


@given(st.integers(0, 1 << 70), st.lists(st.integers(1, 1 << 64) | st.integers(1, 1 << 31), max_size=100))
def test_numbers_drawn_ahead_are_those_drawn_one_by_one(seed: int, ends: list[int]) -> None:
    rng, plain = Rng(seed), OneByOne(seed)
    for end in ends:
        assert rng.below(end) == plain.below(end)


@given(st.integers(0, MASK), st.integers(0, 80), st.text(max_size=5))
def test_a_fork_depends_on_how_many_were_drawn_and_on_nothing_else(
    seed: int, drawn: int, purpose: str
) -> None:
    rng, plain = Rng(seed), OneByOne(seed)
    for _ in range(drawn):
        rng.below(6)
        plain.below(6)
    fork, plain_fork = rng.fork(purpose), plain.fork(purpose)
    assert [fork.below(1000) for _ in range(5)] == [plain_fork.below(1000) for _ in range(5)]
