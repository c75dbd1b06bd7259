"""YAML bytes in, a small tree of text with line numbers out.

Only the plain part of YAML is spoken: sections, lists and scalars.  Scalars stay the text that was
written (`NO`, `010` and `1e3` mean what they say; each setting parses its own type later), so that no
guess of YAML's can change an ad prefix.  Anchors, aliases, tags, duplicate keys and second documents are
refused.  The tree is built from parser events, never by recursion, and nothing is expanded: the work is
bounded by the size of the file.  `load` validates the tree against a model.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import yaml

from cfm.config.problems import Problem, shown

MOST_BYTES = 256 * 1024
"""Three hundred servers need some ten thousand bytes."""
MOST_DEPTH = 12

NOT_SET = frozenset({"", "~", "null", "Null", "NULL"})
"""Plain scalars that stand for "the default"."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value, as written."""

    text: str
    line: int
    plain: bool
    """Without quotes."""

    @property
    def not_set(self) -> bool:
        return not self.text or (self.plain and self.text in NOT_SET)


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    line: int
    nodes: list[Node] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Branch:
    """A mapping, with the line of each key."""

    line: int
    nodes: dict[str, Node] = field(default_factory=dict)
    key_lines: dict[str, int] = field(default_factory=dict)


Node: TypeAlias = Scalar | Items | Branch


class _Mark(Protocol):
    """A place in the text, as PyYAML tells it."""

    @property
    def line(self) -> int: ...


class UnreadableError(Exception):
    """The text cannot be read any further."""

    def __init__(self, line: int | None, text: str, remedy: str) -> None:
        super().__init__(text)
        self.problem = Problem(line, "", text, remedy)


def read_tree(data: bytes) -> tuple[Branch | None, list[Problem]]:
    """The file's settings, or None where its form is broken; and all that is wrong with its YAML."""
    builder = _Builder()
    try:
        builder.read(_decoded(data))
    except UnreadableError as error:
        return None, [*builder.problems, error.problem]
    if not builder.root.nodes and not builder.problems:
        return None, [Problem(1, "", "the file has no settings", "put back the file as it was")]
    return builder.root, builder.problems


def _decoded(data: bytes) -> str:
    if len(data) > MOST_BYTES:
        raise UnreadableError(
            None, f"larger than {MOST_BYTES} bytes", "a settings file is smaller; is it the right file?"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UnreadableError(line, "not UTF-8 text", "save the file as UTF-8") from None
    odd = yaml.SafeLoader.NON_PRINTABLE.search(text)
    if odd:
        line = text.count("\n", 0, odd.start()) + 1
        raise UnreadableError(line, f"an unprintable character (U+{ord(odd[0]):04X})", "remove it")
    return text


@dataclass(slots=True)
class _Open:
    """A section or list whose end has not been read yet."""

    node: Items | Branch
    path: tuple[str, ...]
    key: Scalar | None = None
    """In a section, the key that waits for its value; empty text where the value is to be dropped."""

    def path_below(self) -> tuple[str, ...]:
        return (*self.path, self.key.text) if self.key else self.path


class _Builder:
    """Takes parser events one by one and grows the tree below `root`."""

    def __init__(self) -> None:
        self.root = Branch(1)
        self.problems: list[Problem] = []
        self.documents = 0
        self.stack: list[_Open] = []

    def read(self, text: str) -> None:
        # The loader in pure Python: its marks and messages are the same on every machine.
        loader = yaml.SafeLoader(text)
        try:
            while loader.check_event():
                event = loader.get_event()  # type: ignore[no-untyped-call]  # a gap in PyYAML's stubs
                self.take(event, _line(event.start_mark))
        except yaml.MarkedYAMLError as error:
            raise _broken(error) from None
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            # Escapes and directives with absurd numbers end in bare errors of int() and chr().
            why = shown(" ".join(str(error).split()), 120)
            raise UnreadableError(loader.line + 1, f"not YAML ({why})", "correct this line") from None

    def take(self, event: yaml.Event, line: int) -> None:
        match event:
            case yaml.DocumentStartEvent():
                self.count_document(line)
            case yaml.AliasEvent():
                self.refuse(line, "an alias (`*`)", "write the value itself")
                self.place(Scalar("", line, plain=True))
            case yaml.ScalarEvent():
                self.check_properties(event, line)
                self.place(Scalar(event.value, line, plain=not event.style))
            case yaml.SequenceStartEvent():
                self.check_properties(event, line)
                self.open(Items(line))
            case yaml.MappingStartEvent():
                self.check_properties(event, line)
                self.open(Branch(line))
            case yaml.CollectionEndEvent():
                self.stack.pop()

    def count_document(self, line: int) -> None:
        self.documents += 1
        if self.documents > 1:
            raise UnreadableError(line, "a second document begins here", "keep one document in the file")

    def check_properties(self, event: yaml.NodeEvent, line: int) -> None:
        if event.anchor is not None:
            self.refuse(line, f"an anchor (`&{shown(event.anchor)}`)", "write the value without it")
        tag = getattr(event, "tag", None)
        if tag is not None:
            self.refuse(line, f"a tag (`{shown(tag)}`)", "write the value without it")

    def open(self, node: Items | Branch) -> None:
        if len(self.stack) >= MOST_DEPTH:
            raise UnreadableError(node.line, f"nested deeper than {MOST_DEPTH} levels", "write it flat")
        path = self.stack[-1].path_below() if self.stack else ()
        self.place(node)
        self.stack.append(_Open(node, path))

    def place(self, node: Node) -> None:
        """Puts a node where it belongs in the innermost open section or list."""
        if not self.stack:
            self.place_root(node)
            return
        parent = self.stack[-1]
        if isinstance(parent.node, Items):
            parent.node.nodes.append(node)
        elif parent.key is None:
            parent.key = self.key_of(node)
        else:
            self.put(parent.node, parent.key, node)
            parent.key = None

    def place_root(self, node: Node) -> None:
        if isinstance(node, Branch):
            self.root = node
        elif isinstance(node, Items) or not node.not_set:
            raise UnreadableError(node.line, "no settings, but a list or a text", "write `key: value` lines")

    def key_of(self, node: Node) -> Scalar:
        if isinstance(node, Scalar) and node.text:
            return node
        self.refuse(node.line, "a key that is not a plain word", "write `key: value`")
        return Scalar("", node.line, plain=False)

    def put(self, section: Branch, key: Scalar, node: Node) -> None:
        if key.text in section.nodes:
            first = section.key_lines[key.text]
            dotted = shown(".".join(self.stack[-1].path_below()))
            self.refuse(key.line, f"written twice, first on line {first}", "keep one of them", dotted)
        elif key.text:
            section.nodes[key.text] = node
            section.key_lines[key.text] = key.line

    def refuse(self, line: int, text: str, remedy: str, key: str = "") -> None:
        self.problems.append(Problem(line, key, text, remedy))


def _line(mark: _Mark | None) -> int:
    return mark.line + 1 if mark else 1


def _broken(error: yaml.MarkedYAMLError) -> UnreadableError:
    line = _line(error.problem_mark or error.context_mark)
    problem = error.problem or error.context or "cannot be understood"
    if "'\\t'" in problem:
        return UnreadableError(line, "a tab where YAML allows none", "indent with spaces")
    why = shown(problem, 120)
    return UnreadableError(line, f"not YAML ({why})", "correct this line or the one before it")
