"""Pictures of what happened over time, as SVG: areas, lines, and the state of a server.

No looks are in here but shapes; colours come from the stylesheet by class.  Each picture says in words what
it shows.  Pure.  Neighbours: `explain.trends` has the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Final

from cfm.controller.explain.trends import DISK_UNKNOWN, DOWN, NOT_SEEN
from cfm.controller.serve.html import Child, Html, tag
from cfm.controller.serve.pages import cells

LEAST_STEPS: Final = 20
"""A picture is at least so many steps wide: a node that has just started fills a part of it."""
HEIGHT: Final = 100


def picture(caption: str, now: Child, svg: Html, steps: int, step_s: int, top: str) -> Html:
    """A chart with its title, its present value, and both ends of its time."""
    span_s = (max(LEAST_STEPS, steps) - 1) * step_s
    ends = tag("span", f"{cells.span(span_s)} ago"), tag("span", "now")
    return tag(
        "figure",
        tag("figcaption", tag("span", caption), tag("strong", now)),
        tag("div", svg, tag("span", top, cls="top quiet"), cls="plot"),
        tag("div", ends, cls="ends quiet"),
    )


def areas(lines: Sequence[tuple[Sequence[float], str]], top: float, label: str, cls: str = "chart") -> Html:
    """One area or line for each series, up to `top`; all have as many steps.

    A class that ends in `line` is drawn as a line alone.
    """
    steps = max((len(values) for values, _cls in lines), default=0)
    width = max(LEAST_STEPS, steps)
    drawn = [_drawn(values, cls, width, top) for values, cls in lines if len(values) > 1]
    grid = tag("path", attrs={"d": f"M0 {HEIGHT // 2}H{width - 1}"}, cls="grid")
    shape = {
        "viewBox": f"0 0 {width - 1} {HEIGHT}",
        "preserveAspectRatio": "none",
        "role": "img",
        "aria-label": label,
    }
    return tag("svg", grid if cls == "chart" else None, drawn, attrs=shape, cls=cls)


def _drawn(values: Sequence[float], cls: str, width: int, top: float) -> list[Html]:
    first = width - len(values)
    points = [
        f"{first + place} {HEIGHT - min(1.0, value / top if top else 0.0) * (HEIGHT - 2) - 1:.1f}"
        for place, value in enumerate(values)
    ]
    line = tag("path", attrs={"d": "M" + "L".join(points)}, cls=f"line {cls}")
    if cls.endswith("line"):
        return [line]
    area = f"M{first} {HEIGHT}L{'L'.join(points)}L{width - 1} {HEIGHT}Z"
    return [tag("path", attrs={"d": area}, cls=f"area {cls}"), line]


def curve(values: Sequence[float], label: str) -> Html:
    """A small line without axes."""
    return areas([(values, "rising line")], max([1.0, *values]), label, cls="spark")


def states(codes: Sequence[int], label: str) -> Html:
    """How a server was in each step: the height of a bar is how full its disk was."""
    width = max(LEAST_STEPS, len(codes))
    x, drawn = width - len(codes), []
    for code, run in groupby(codes):
        steps = len(list(run))
        if code != NOT_SEEN:
            cls, height = _state_shape(code)
            box = {"x": x, "y": HEIGHT - height, "width": steps, "height": height}
            drawn.append(tag("rect", attrs=box, cls=cls))
        x += steps
    shape = {
        "viewBox": f"0 0 {width} {HEIGHT}",
        "preserveAspectRatio": "none",
        "role": "img",
        "aria-label": label,
    }
    return tag("svg", drawn, attrs=shape, cls="chart states")


def _state_shape(code: int) -> tuple[str, int]:
    if code == DOWN:
        return "down", HEIGHT
    return ("unknown", HEIGHT) if code == DISK_UNKNOWN else ("used", max(2, code))
