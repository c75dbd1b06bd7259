"""How an effect becomes a question to somebody, and how the answer becomes the next event.  Pure.

The table `QUESTIONS` is the whole translation.  The shell of the real program asks over HTTP, the simulator
over its network in virtual time, and both read this table: so both ask the same, and understand the same.
Neighbours: `events` has both vocabularies; `controller.act.loop` and the simulator carry the questions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final, Protocol, TypeVar

from cfm.controller.decide import events as ev
from cfm.model import Addr, Failure, Now, Trouble, Unknown
from cfm.plan.shortlist import PlanInputs

ANSWERS_AT_A_TIME = 64
"""Who holds 64 files, 300 lists say in 3 ms."""
FOREVER_MS: Final = 2**62
"""For a cfm that no other one can depose."""

R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")


class Answerer(Protocol[R_co]):
    """Whoever brings questions to workers, the SAN and the planner.  What a call returns is its own affair:
    an awaitable, or a request on a simulated network."""

    def heartbeat(self, addr: Addr) -> R_co: ...

    def list_files(self, addr: Addr, fence: int | None, source_folder: str) -> R_co: ...

    def disk_usage(self, addr: Addr) -> R_co: ...

    def see_copy(self, addr: Addr, name: str) -> R_co: ...

    def delete(self, addr: Addr, order_id: int, name: str, *, probe: str, within_s: float) -> R_co: ...

    def cut_stream(self, addr: Addr, task_id: int) -> R_co: ...

    def stat_files(self, sizes: Mapping[str, int]) -> R_co: ...

    def seek_names(self, names: frozenset[str]) -> R_co: ...

    def reduce(self, inputs: PlanInputs) -> R_co: ...


@dataclass(frozen=True, slots=True)
class Span:
    """When a question was asked and answered, on the monotonic clock."""

    asked_ms: int
    answered_ms: int


@dataclass(frozen=True, slots=True)
class QuestionForm:
    """One row of the table."""

    ask: Callable[[Answerer[Any], Any, int], Any]
    """Takes who answers, the effect, and the time."""
    event: Callable[[Any, Any, Span], ev.Event]
    """Takes the effect, the answer, and when it was asked and answered."""
    broken: Callable[[Any, str, Span], ev.Event]
    """The same for a question that ended by an error of ours: the core hears that nobody knows the answer."""


def _broken(why: str) -> Failure:
    return Failure(Trouble.BROKEN, why)


QUESTIONS: Mapping[type[ev.Effect], QuestionForm] = {
    ev.SendHeartbeat: QuestionForm(
        lambda to, effect, _now_ms: to.heartbeat(effect.addr),
        lambda effect, answer, _span: ev.HeartbeatAnswer(effect.addr, answer),
        lambda effect, why, _span: ev.HeartbeatAnswer(effect.addr, _broken(why)),
    ),
    ev.AskList: QuestionForm(
        lambda to, effect, _now_ms: to.list_files(effect.addr, effect.fence, effect.source_folder),
        lambda effect, answer, span: ev.ListAnswer(effect.addr, span.asked_ms, answer, effect.fence),
        lambda effect, why, span: ev.ListAnswer(effect.addr, span.asked_ms, _broken(why), effect.fence),
    ),
    ev.AskDisk: QuestionForm(
        lambda to, effect, _now_ms: to.disk_usage(effect.addr),
        lambda effect, answer, span: ev.DiskAnswer(effect.addr, span.asked_ms, answer),
        lambda effect, why, span: ev.DiskAnswer(effect.addr, span.asked_ms, _broken(why)),
    ),
    ev.AskCopy: QuestionForm(
        lambda to, effect, _now_ms: to.see_copy(effect.addr, effect.name),
        lambda effect, answer, span: ev.CopyAnswer(effect.addr, effect.name, span.asked_ms, answer),
        lambda effect, why, span: ev.CopyAnswer(effect.addr, effect.name, span.asked_ms, _broken(why)),
    ),
    ev.SendDelete: QuestionForm(
        lambda to, effect, now_ms: to.delete(
            effect.order.server,
            effect.order.id,
            effect.order.file.name,
            probe=effect.probe,
            within_s=(effect.before_ms - now_ms) / 1000,
        ),
        lambda effect, answer, _span: ev.DeleteAnswer(effect.order.id, answer),
        lambda effect, why, _span: ev.DeleteAnswer(effect.order.id, _broken(why)),
    ),
    ev.CutStream: QuestionForm(
        lambda to, effect, _now_ms: to.cut_stream(effect.source, effect.task_id),
        lambda effect, answer, _span: ev.CutAnswer(effect.task_id, cut=answer is True),
        lambda effect, _why, _span: ev.CutAnswer(effect.task_id, cut=False),
    ),
    ev.AskSan: QuestionForm(
        lambda to, effect, _now_ms: to.stat_files(effect.sizes),
        lambda _effect, answer, span: ev.SanAnswers(span.asked_ms, answer),
        lambda effect, why, span: ev.SanAnswers(
            span.asked_ms, dict.fromkeys(effect.sizes, Unknown(why, span.asked_ms))
        ),
    ),
    ev.SeekNames: QuestionForm(
        lambda to, effect, _now_ms: to.seek_names(effect.names),
        lambda effect, answer, span: ev.NamesSought(effect.names, span.asked_ms, answer),
        lambda effect, _why, span: ev.NamesSought(effect.names, span.asked_ms, {}),
    ),
    ev.StartPlan: QuestionForm(
        lambda to, effect, _now_ms: to.reduce(effect.inputs),
        lambda _effect, answer, span: ev.PlanReady(answer, span.answered_ms - span.asked_ms),
        lambda _effect, why, span: ev.PlanFailed(why, span.answered_ms - span.asked_ms),
    ),
}


def ask(to: Answerer[R], effect: ev.Effect, now: Now) -> R:
    """Put the question of an effect to whoever answers it."""
    asked: R = QUESTIONS[type(effect)].ask(to, effect, now.mono_ms)
    return asked


def understood(effect: ev.Effect, answer: Any, asked: Now, answered: Now) -> ev.Event:
    """The answer to an effect's question as the next event."""
    return QUESTIONS[type(effect)].event(effect, answer, Span(asked.mono_ms, answered.mono_ms))


def parts(event: ev.Event) -> Iterator[ev.Event]:
    """An event as several ones, where it would hold the loop for long: each file's answer is for itself."""
    if isinstance(event, ev.SanAnswers) and len(event.answers) > ANSWERS_AT_A_TIME:
        answers = iter(event.answers.items())
        while part := dict(islice(answers, ANSWERS_AT_A_TIME)):
            yield ev.SanAnswers(event.asked_ms, part)
    else:
        yield event


def broken(effect: ev.Effect, why: str, asked: Now, ended: Now) -> ev.Event:
    """What the core hears where the question ended by an error of ours.

    So it never waits for an answer that cannot come, and takes no error for an answer.
    """
    return QUESTIONS[type(effect)].broken(effect, why, Span(asked.mono_ms, ended.mono_ms))


def too_late(effect: ev.Effect, now: Now, acts_until_ms: int = FOREVER_MS) -> ev.Event | None:
    """The event of an effect that comes too late to be carried out; None where it may be.

    What confirmed a delete counts for a while.  Where its record became durable only later, nothing is sent.
    Nor is anything ordered by a cfm that leads only until `acts_until_ms`.
    """
    if isinstance(effect, ev.SendDelete) and min(effect.before_ms, acts_until_ms) <= now.mono_ms:
        return ev.DeleteAnswer(effect.order.id, ev.LATE)
    if isinstance(effect, ev.CutStream) and acts_until_ms <= now.mono_ms:
        return ev.CutAnswer(effect.task_id, cut=False)
    return None


def in_time(effect: ev.Effect, acts_until_ms: int) -> ev.Effect:
    """The same effect; an order that waits for its turn is sent by then or not at all."""
    if isinstance(effect, ev.SendDelete) and effect.before_ms > acts_until_ms:
        return replace(effect, before_ms=acts_until_ms)
    return effect
