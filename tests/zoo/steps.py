"""A step of the core with other effects, or with more changes: what a bug does to what was decided."""

from __future__ import annotations

from collections.abc import Callable

from cfm.controller.decide import events as ev
from cfm.controller.decide.step import Step


def altered(step: Step, alter: Callable[[ev.Effect], ev.Effect]) -> Step:
    """The step with other effects, which wait as long as these."""
    at_once, after_commit = ([alter(effect) for effect in part] for part in (step.at_once, step.after_commit))
    return Step(at_once, step.changes, after_commit)


def with_more(step: Step, more: Step) -> Step:
    """Both steps as one."""
    return Step(
        [*step.at_once, *more.at_once],
        [*step.changes, *more.changes],
        [*step.after_commit, *more.after_commit],
    )
