"""The picture of growth that the report has."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import growth

SIZES = [10_000, 100_000, 1_000_000]
SVG = "{http://www.w3.org/2000/svg}"


def test_a_figure_that_grows_as_the_files_do_is_as_steep_as_the_dashed_line() -> None:
    drawn = ET.fromstring(growth.picture(SIZES, {"time, s": [1, 10, 100], "memory <MB>": [100, 200, 400]}))
    time, memory = drawn.findall(f"{SVG}g")
    assert memory.findtext(f"{SVG}text") == "memory <MB>"
    (curve,) = time.iter(f"{SVG}polyline")
    places = [tuple(map(float, at.split(","))) for at in curve.attrib["points"].split()]
    (line,) = [one for one in time.iter(f"{SVG}line") if one.get("class") == "slope"]
    x1, y1, x2, y2 = (float(line.attrib[key]) for key in ("x1", "y1", "x2", "y2"))
    assert (places[0], places[-1]) == ((x1, y1), (x2, y2))


def test_the_exponent_says_how_a_figure_grows() -> None:
    assert growth.exponent(SIZES, [1, 10, 100]) == 1
    assert growth.exponent(SIZES, [5, 7, 5]) == 0
