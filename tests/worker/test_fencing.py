"""Whom a worker obeys: the table of the contract, and what no sequence of messages may bring about."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfm import wire
from cfm.errors import StoreFullError
from cfm.worker.act.fencing import Authority
from cfm.worker.decide.fencing import (
    Binding,
    HeaderError,
    Issuer,
    Obey,
    Refuse,
    hear,
    judge,
    judge_delete,
    read_issuer,
    read_number,
)
from cfm_lab.fakes.memory_worker import MemoryState

OURS = "controller-a"
OTHER = "controller-b"
BOUND = Binding(OURS, epoch=5, fence=100)


class TestJudge:
    def test_an_unbound_worker_obeys_an_old_cfm(self) -> None:
        assert judge(None, None) == Obey(None)

    def test_an_unbound_worker_obeys_no_controller_that_it_did_not_hear_itself(self) -> None:
        verdict = judge(None, Issuer(OURS, 1))
        assert isinstance(verdict, Refuse)
        assert "cfm_addr" in verdict.why

    @pytest.mark.parametrize("issuer", [None, Issuer(OTHER, 9), Issuer(OURS, 4)])
    def test_a_bound_worker_refuses(self, issuer: Issuer | None) -> None:
        assert isinstance(judge(BOUND, issuer), Refuse)

    @pytest.mark.parametrize("epoch", [5, 6])
    def test_a_bound_worker_obeys_its_controller_and_remembers_the_epoch(self, epoch: int) -> None:
        fence = 100 if epoch == BOUND.epoch else 0
        assert judge(BOUND, Issuer(OURS, epoch)) == Obey(Binding(OURS, epoch, fence))

    def test_a_fence_is_of_its_epoch(self) -> None:
        """A state that was put back together with the clock counts from below; it leads in a higher epoch."""
        later = Issuer(OURS, 6)
        verdict = judge_delete(BOUND, later, 1)
        assert verdict == Obey(Binding(OURS, 6))
        assert isinstance(judge_delete(Binding(OURS, 6), Issuer(OURS, 5), 100), Refuse)

    @pytest.mark.parametrize(("order", "obeyed"), [(99, False), (100, True), (101, True), (None, False)])
    def test_an_overtaken_order_is_refused(self, order: int | None, obeyed: bool) -> None:
        assert isinstance(judge_delete(BOUND, Issuer(OURS, 5), order), Obey) == obeyed

    def test_an_order_needs_no_number_where_there_is_no_fence(self) -> None:
        assert isinstance(judge_delete(Binding(OURS, 5), Issuer(OURS, 5), None), Obey)
        assert isinstance(judge_delete(None, None, None), Obey)


class TestHeaders:
    def test_none_is_no_issuer(self) -> None:
        assert read_issuer({}) is None
        assert read_number({}, wire.ORDER) is None

    def test_both_are_an_issuer(self) -> None:
        assert read_issuer({wire.CONTROLLER: OURS, wire.EPOCH: "7"}) == Issuer(OURS, 7)

    @pytest.mark.parametrize(
        "headers",
        [
            {wire.CONTROLLER: OURS},
            {wire.EPOCH: "7"},
            {wire.CONTROLLER: "", wire.EPOCH: "7"},
            {wire.CONTROLLER: OURS, wire.EPOCH: "-7"},
            {wire.CONTROLLER: OURS, wire.EPOCH: "٧"},
            {wire.CONTROLLER: OURS, wire.EPOCH: "9" * 30},
            {wire.CONTROLLER: "a b", wire.EPOCH: "7"},
        ],
    )
    def test_half_of_one_is_refused(self, headers: dict[str, str]) -> None:
        with pytest.raises(HeaderError):
            read_issuer(headers)

    def test_numbers_are_integers(self) -> None:
        assert read_number({wire.FENCE: "12"}, wire.FENCE) == 12
        with pytest.raises(HeaderError):
            read_number({wire.FENCE: "1e3"}, wire.FENCE)


issuers = st.one_of(st.none(), st.builds(Issuer, st.sampled_from([OURS, OTHER]), st.integers(0, 9)))


@dataclass
class Step:
    heard: bool
    issuer: Issuer | None


steps = st.lists(st.builds(Step, st.booleans(), issuers), max_size=20)


@given(steps)
def test_the_controller_never_changes_and_its_epoch_never_falls(sequence: list[Step]) -> None:
    binding: Binding | None = None
    for step in sequence:
        before = binding
        if step.heard and step.issuer is not None:
            binding = hear(binding, step.issuer)
        elif not step.heard:
            verdict = judge(binding, step.issuer)
            if isinstance(verdict, Obey):
                assert before is None or (step.issuer and step.issuer.epoch >= before.epoch)
                binding = verdict.binding
        if before is not None:
            assert binding is not None
            assert binding.controller == before.controller
            assert binding.epoch >= before.epoch
            assert binding.fence == before.fence or binding.epoch > before.epoch


@given(steps)
def test_nobody_binds_a_worker_but_who_answers_it(sequence: list[Step]) -> None:
    binding: Binding | None = None
    for step in sequence:
        verdict = judge(binding, step.issuer)
        if isinstance(verdict, Obey):
            binding = verdict.binding
    assert binding is None


class FullState(MemoryState):
    """A state on a full disk."""

    async def bind(self, binding: Binding | None) -> None:
        raise StoreFullError(f"no room for {binding}")


@dataclass
class SlowState(MemoryState):
    """A state whose disk takes its time, and says when it is asked."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        MemoryState.__init__(self)

    async def bind(self, binding: Binding | None) -> None:
        self.asked.set()
        await self.go_on.wait()
        await MemoryState.bind(self, binding)


class TestAuthority:
    async def test_hears_once_and_belongs_from_then_on(self) -> None:
        state = MemoryState()
        authority = Authority(state, None)
        assert await authority.order(None) is None
        assert await authority.hear(Issuer(OURS, 3))
        assert not await authority.hear(Issuer(OTHER, 9))
        assert not await authority.hear(Issuer(OURS, 2))
        assert (await state.recall()).binding == authority.binding == Binding(OURS, 3)
        assert await authority.order(None) is not None
        assert await authority.order(Issuer(OURS, 4)) is None
        assert (await state.recall()).binding == Binding(OURS, 4)

    async def test_what_could_not_be_written_down_does_not_count(self) -> None:
        authority = Authority(FullState(), BOUND)
        with pytest.raises(StoreFullError):
            await authority.order(Issuer(OURS, 6))
        assert authority.binding == BOUND

    async def test_a_fence_holds_for_orders_already_let_through(self) -> None:
        authority = Authority(MemoryState(), Binding(OURS, 5))
        issuer = Issuer(OURS, 5)
        assert await authority.delete_order(issuer, 10) is None
        assert authority.still(issuer, 10)
        assert await authority.fence(issuer, 11) is None
        assert not authority.still(issuer, 10)
        assert await authority.delete_order(issuer, 10) is not None
        assert await authority.delete_order(issuer, 11) is None

    async def test_a_fence_never_falls(self) -> None:
        authority = Authority(MemoryState(), BOUND)
        assert await authority.fence(Issuer(OURS, 5), 7) is None
        assert authority.binding == BOUND

    async def test_a_new_epoch_ends_the_orders_of_the_old(self) -> None:
        authority = Authority(MemoryState(), Binding(OURS, 5))
        assert await authority.order(Issuer(OURS, 6)) is None
        assert not authority.still(Issuer(OURS, 5), 10)

    @pytest.mark.parametrize("issuer", [None, Issuer(OTHER, 9), Issuer(OURS, 4)])
    async def test_others_raise_no_fence(self, issuer: Issuer | None) -> None:
        authority = Authority(MemoryState(), BOUND)
        assert await authority.fence(issuer, 10**6) is not None
        assert authority.binding == BOUND

    async def test_a_fence_that_came_before_the_controller_was_heard_is_kept_for_it(self) -> None:
        authority = Authority(MemoryState(), None)
        assert await authority.fence(Issuer(OURS, 1), 50) is None
        assert authority.binding is None
        await authority.hear(Issuer(OURS, 1))
        assert authority.binding == Binding(OURS, 1, 50)

    async def test_nor_does_such_a_fence_fall(self) -> None:
        authority = Authority(MemoryState(), None)
        for number in (50, 20):
            assert await authority.fence(Issuer(OURS, 1), number) is None
        await authority.hear(Issuer(OURS, 1))
        assert authority.binding == Binding(OURS, 1, 50)

    async def test_such_a_fence_is_of_its_epoch(self) -> None:
        """A higher epoch needs none of before, and its orders may have lower numbers."""
        authority = Authority(MemoryState(), None)
        await authority.fence(Issuer(OURS, 1), 50)
        await authority.hear(Issuer(OURS, 2))
        assert authority.binding == Binding(OURS, 2)

    async def test_but_for_no_other(self) -> None:
        authority = Authority(MemoryState(), None)
        await authority.fence(Issuer(OTHER, 1), 10**9)
        await authority.hear(Issuer(OURS, 1))
        assert authority.binding == Binding(OURS, 1)

    async def test_an_unbound_worker_takes_the_fence_of_no_one_unnamed(self) -> None:
        authority = Authority(MemoryState(), None)
        assert await authority.fence(None, 10**9) is None
        assert await authority.delete_order(None, None) is None

    async def test_release_forgets(self) -> None:
        state = MemoryState()
        await state.bind(BOUND)
        authority = Authority(state, BOUND)
        assert await authority.release() == BOUND
        assert (await state.recall()).binding is None
        assert await authority.hear(Issuer(OTHER, 1))

    async def test_an_epoch_counts_only_when_it_is_durable(self) -> None:
        state = SlowState()
        authority = Authority(state, BOUND)
        order = asyncio.create_task(authority.order(Issuer(OURS, 6)))
        await state.asked.wait()
        assert authority.binding == BOUND
        state.go_on.set()
        assert await order is None
        assert authority.binding == Binding(OURS, 6)
