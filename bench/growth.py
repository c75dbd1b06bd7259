"""Draws how figures grow with the library, as one SVG picture: a panel for each figure.

Both axes are logarithmic, so a figure that grows as the files do is a straight line, as steep as the dashed
one.  `report` writes the picture beside its page.  Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape

PANEL_PX, HEIGHT_PX = 280, 240
LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX = 52, 14, 34, 30
_STYLE = (
    "text{font:12px sans-serif;fill:#333}.line{fill:none;stroke:#1f6feb;stroke-width:2}"
    ".dot{fill:#1f6feb}.grid{stroke:#ddd}.slope{stroke:#999;stroke-dasharray:4 3}"
)


def picture(sizes: Sequence[int], figures: Mapping[str, Sequence[float]]) -> str:
    """The SVG text.  `sizes`: how many files, ascending; `figures`: title → one positive value for each."""
    width_px = PANEL_PX * len(figures)
    panels = "".join(
        f'<g transform="translate({PANEL_PX * place} 0)">{"".join(_panel(title, sizes, values))}</g>\n'
        for place, (title, values) in enumerate(figures.items())
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width_px} {HEIGHT_PX}" width="{width_px}" '
        f'height="{HEIGHT_PX}"><style>{_STYLE}</style>\n<rect width="100%" height="100%" fill="#fff"/>\n'
        f"{panels}</svg>\n"
    )


def exponent(sizes: Sequence[int], values: Sequence[float]) -> float:
    """The figure grows with the files to this power, from the first size to the last."""
    return math.log(values[-1] / values[0]) / math.log(sizes[-1] / sizes[0])


def _panel(title: str, sizes: Sequence[int], values: Sequence[float]) -> Iterator[str]:
    across = _Axis(math.log10(sizes[0]), math.log10(sizes[-1]), LEFT_PX, PANEL_PX - RIGHT_PX)
    lowest, highest = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    up = _Axis(lowest, max(highest, lowest + 1), HEIGHT_PX - BOTTOM_PX, TOP_PX)
    yield f'<text x="{LEFT_PX}" y="18">{escape(title)}</text>'
    for size in sizes:
        x = across.place(math.log10(size))
        yield f'<line class="grid" x1="{x:.0f}" x2="{x:.0f}" y1="{TOP_PX}" y2="{HEIGHT_PX - BOTTOM_PX}"/>'
        yield f'<text x="{x:.0f}" y="{HEIGHT_PX - 10}" text-anchor="middle">{_short(size)}</text>'
    for power in range(lowest, max(highest, lowest + 1) + 1):
        y = up.place(power)
        yield f'<line class="grid" x1="{LEFT_PX}" x2="{PANEL_PX - RIGHT_PX}" y1="{y:.0f}" y2="{y:.0f}"/>'
        yield f'<text x="{LEFT_PX - 6}" y="{y + 4:.0f}" text-anchor="end">{_short(10.0**power)}</text>'
    yield _slope(across, up)
    places = [
        (across.place(math.log10(size)), up.place(math.log10(value)))
        for size, value in zip(sizes, values, strict=True)
    ]
    yield f'<polyline class="line" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}"/>'
    for (x, y), value in zip(places, values, strict=True):
        yield f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3"><title>{value:,.2f}</title></circle>'


class _Axis:
    """Logarithms to pixels."""

    def __init__(self, first: float, last: float, from_px: float, to_px: float) -> None:
        self.first, self.last = first, last
        self._from_px, self._px = from_px, (to_px - from_px) / (last - first)

    def place(self, value: float) -> float:
        return self._from_px + (value - self.first) * self._px


def _slope(across: _Axis, up: _Axis) -> str:
    """From the top right corner down: ten times the files, ten times the figure."""
    decades = min(across.last - across.first, up.last - up.first)
    ends = [(across.place(across.last - back), up.place(up.last - back)) for back in (decades, 0.0)]
    (x1, y1), (x2, y2) = ends
    return f'<line class="slope" x1="{x1:.0f}" y1="{y1:.0f}" x2="{x2:.0f}" y2="{y2:.0f}"/>'


def _short(number: float) -> str:
    for unit, of in (("M", 1e6), ("k", 1e3)):
        if number >= of:
            return f"{number / of:g}{unit}"
    return f"{number:g}"
