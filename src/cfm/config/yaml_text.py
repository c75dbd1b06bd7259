"""Turns the bytes of a settings file into plain values, and remembers the line of each value.

PyYAML composes the file into nodes.  `_Loader` refuses what settings files may not use: anchors, aliases,
tags and deep nesting.  `_Reading` turns the nodes into values.  Every value stays the text that is written in
the file, so `NO` and `010` stay ad prefixes: YAML's own rules would make a switch and a number of them.  Each
setting turns its text into its own type later (see `fields`).

`load` validates the values against a model, and uses the lines to say where a wrong value stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import yaml

from cfm.config.problems import SettingsProblem, shown

MOST_BYTES = 256 * 1024
"""The settings of three hundred servers need about ten thousand bytes."""
MOST_DEPTH = 12

NOT_SET = frozenset({"", "~", "null", "Null", "NULL"})
"""These words, written without quotes, mean "use the default"."""

Loc: TypeAlias = tuple[int | str, ...]
"""The place of a value: the keys and list positions that lead to it, as in pydantic's errors."""


@dataclass(frozen=True, slots=True)
class SettingsText:
    """What a settings file says, before anything is validated."""

    values: dict[str, Any]
    """Dictionaries, lists and texts; None for a key that has no value."""
    lines: dict[Loc, int]
    """The line of each value, from 1.  A section, a list and an empty value have the line of their key."""

    def line_of(self, loc: Loc) -> int:
        """The line of the value at `loc`; where it is missing, that of the innermost section around it."""
        known = (loc[:length] for length in range(len(loc), 0, -1) if loc[:length] in self.lines)
        return self.lines[next(known, ())]


class SettingsUnreadableError(Exception):
    """The file cannot be read beyond this point."""

    def __init__(self, line: int | None, text: str, remedy: str) -> None:
        super().__init__(text)
        self.problem = SettingsProblem(line, "", text, remedy)


def read_yaml(data: bytes) -> tuple[SettingsText | None, list[SettingsProblem]]:
    """What the file says, or None where it cannot be read; and everything that is wrong with its YAML."""
    problems: list[SettingsProblem] = []
    try:
        root = _composed(_decoded(data), problems)
        found = _Reading(problems).file(root)
    except SettingsUnreadableError as error:
        return None, [*problems, error.problem]
    if not found.values and not problems:
        remedy = "write settings into it, or name another file with -c"
        return None, [SettingsProblem(1, "", "the file has no settings", remedy)]
    return found, problems


def dotted(loc: Loc) -> str:
    """The name of a key as messages show it: `servers.sources` for each item of that list."""
    return ".".join(shown(step) for step in loc if isinstance(step, str))


# --- from bytes to nodes ------------------------------------------------------------------------------


def _decoded(data: bytes) -> str:
    if len(data) > MOST_BYTES:
        text = f"larger than {MOST_BYTES} bytes"
        raise SettingsUnreadableError(None, text, "a settings file is smaller; is it the right file?")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SettingsUnreadableError(line, "not UTF-8 text", "save the file as UTF-8") from None
    odd = yaml.BaseLoader.NON_PRINTABLE.search(text)
    if odd:
        line = text.count("\n", 0, odd.start()) + 1
        raise SettingsUnreadableError(line, f"an unprintable character (U+{ord(odd[0]):04X})", "remove it")
    return text


def _composed(text: str, problems: list[SettingsProblem]) -> yaml.Node | None:
    """The root node; None where the file has only comments and blank lines."""
    loader = _Loader(text, problems)
    try:
        root = loader.get_node() if loader.check_node() else None
        if loader.check_node():
            line, text = _line(loader.next_event()), "a second document begins here"
            raise SettingsUnreadableError(line, text, "keep one document in the file")
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # An absurd number in an escape or a directive makes int() or chr() fail inside PyYAML.
        why = shown(" ".join(str(error).split()), 120)
        raise SettingsUnreadableError(loader.line + 1, f"not YAML ({why})", "correct this line") from None
    return root


def _syntax_error(error: yaml.MarkedYAMLError) -> SettingsUnreadableError:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    problem = error.problem or error.context or "cannot be understood"
    if "'\\t'" in problem:
        return SettingsUnreadableError(line, "a tab where YAML allows none", "indent with spaces")
    why = f"not YAML ({shown(problem, 120)})"
    return SettingsUnreadableError(line, why, "correct this line or the one before it")


class _Loader(yaml.BaseLoader):
    """Composes nodes, and notes what settings files may not use.

    `BaseLoader` leaves every value as text.  It is PyYAML's parser in Python, not the one in C: its marks and
    messages are the same on every machine.
    """

    def __init__(self, text: str, problems: list[SettingsProblem]) -> None:
        super().__init__(text)
        self.problems = problems
        self.depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.next_event()
        mark = event.start_mark
        if isinstance(event, yaml.AliasEvent):
            self.refuse(event, "an alias (`*`)", "write the value itself")
            self.get_event()  # type: ignore[no-untyped-call]  # a gap in PyYAML's stubs
            return yaml.ScalarNode("", "", mark)
        if event.anchor is not None:
            self.refuse(event, f"an anchor (`&{shown(event.anchor)}`)", "write the value without it")
            event.anchor = None
        if event.tag is not None:
            self.refuse(event, f"a tag (`{shown(event.tag)}`)", "write the value without it")
        if self.depth == MOST_DEPTH and isinstance(event, yaml.CollectionStartEvent):
            text = f"nested deeper than {MOST_DEPTH} levels"
            raise SettingsUnreadableError(_line(event), text, "use fewer levels")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def next_event(self) -> Any:
        return self.peek_event()  # type: ignore[no-untyped-call]  # a gap in PyYAML's stubs

    def refuse(self, event: yaml.Event, text: str, remedy: str) -> None:
        self.problems.append(SettingsProblem(_line(event), "", text, remedy))


def _line(place: yaml.Event | yaml.Node) -> int:
    return place.start_mark.line + 1 if place.start_mark else 1


# --- from nodes to values -----------------------------------------------------------------------------


class _Reading:
    """One walk through the nodes, which also notes lines and problems."""

    def __init__(self, problems: list[SettingsProblem]) -> None:
        self.problems = problems
        self.lines: dict[Loc, int] = {(): 1}

    def file(self, root: yaml.Node | None) -> SettingsText:
        if root is None or _is_not_set(root):
            return SettingsText({}, self.lines)
        if not isinstance(root, yaml.MappingNode):
            text = "a list or a text where settings are expected"
            raise SettingsUnreadableError(_line(root), text, "write `key: value` lines")
        self.lines[()] = _line(root)
        return SettingsText(self.section(root, ()), self.lines)

    def section(self, node: yaml.MappingNode, loc: Loc) -> dict[str, Any]:
        values: dict[str, Any] = {}
        first: dict[str, int] = {}
        for key_node, value_node in node.value:
            key, line = key_node.value, _line(key_node)
            if not isinstance(key_node, yaml.ScalarNode) or not key:
                self.refuse(line, loc, "a key that is not a plain word", "write `key: value`")
            elif key in first:
                text = f"written twice, first on line {first[key]}"
                self.refuse(line, (*loc, key), text, "keep one of them")
            else:
                first[key] = line
                values[key] = self.value(value_node, (*loc, key), line)
        return values

    def value(self, node: yaml.Node, loc: Loc, key_line: int | None = None) -> Any:
        """The value of a key (on line `key_line`), or of an item of a list."""
        is_text = isinstance(node, yaml.ScalarNode)
        self.lines[loc] = key_line if key_line and not (is_text and node.value) else _line(node)
        if isinstance(node, yaml.MappingNode):
            return self.section(node, loc)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*loc, number)) for number, item in enumerate(node.value)]
        return None if key_line and _is_not_set(node) else node.value

    def refuse(self, line: int, loc: Loc, text: str, remedy: str) -> None:
        self.problems.append(SettingsProblem(line, dotted(loc), text, remedy))


def _is_not_set(node: yaml.Node) -> bool:
    if not isinstance(node, yaml.ScalarNode):
        return False
    return not node.value or (not node.style and node.value in NOT_SET)
