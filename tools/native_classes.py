"""Value classes as a compiler to native code likes them: with methods of their own.

mypyc knows the attributes of a dataclass or a named tuple, but leaves what Python makes for them to the
interpreter: constructors, comparisons, hashes, the fields of a tuple.  `rewritten` spells these out.  It also
calls a mapping in a field what it is, a dictionary, which is looked up faster; writes `isinstance(x, A | B)`
with a tuple, for which no union is made each time; and marks constants as final, so that they need not be
looked up.  What it returns means the same, and is for the compiler alone.
"""

# ruff: noqa: INP001 - of a program, and no module

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Field:
    """One annotated name of a class; `default` and `factory` as they stand in the source."""

    name: str
    annotation: str
    default: str | None = None
    factory: str | None = None
    in_init: bool = True

    @property
    def parameter(self) -> str:
        if self.factory is not None:
            return f"{self.name}: {self.annotation} | None = None"
        default = "" if self.default is None else f" = {self.default}"
        return f"{self.name}: {self.annotation}{default}"

    @property
    def assignment(self) -> str:
        given = f"({self.factory})() if {self.name} is None else {self.name}" if self.factory else self.name
        return f"        self.{self.name} = {given}"


def rewritten(source: str) -> str:
    """`source` with the methods of its value classes spelled out below each of them."""
    for step in (_with_dicts, _with_tuples, _with_finals):
        source = "\n".join(step(source.splitlines(), ast.parse(source)))
    lines = source.splitlines()
    classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    for node in reversed(classes):  # from the end, so that what stands before keeps its place
        options = _options(node)
        if options is None:
            continue
        fields = list(_fields(node, source))
        end = node.end_lineno or node.lineno
        lines[end:end] = _methods(node, fields, options)
        for statement in reversed(node.body):
            if isinstance(statement, ast.AnnAssign):
                _strip_default(lines, statement)
        _mark(lines, node)
    return "\n".join(lines) + "\n"


def _with_dicts(lines: list[str], tree: ast.Module) -> list[str]:
    """The lines with the fields of classes that are annotated as mappings annotated as dictionaries."""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    for field in (statement for node in classes for statement in node.body):
        if isinstance(field, ast.AnnAssign):
            line, at = lines[field.lineno - 1], field.annotation.col_offset
            if line.startswith("Mapping[", at):
                lines[field.lineno - 1] = line[:at] + "dict[" + line[at + len("Mapping[") :]
    return lines


def _with_tuples(lines: list[str], tree: ast.Module) -> list[str]:
    """The lines of a source with a tuple of classes where `isinstance` is asked about a union of them."""
    asked = [
        node.args[1]
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and _name(node.func) == "isinstance"
    ]
    unions = [kinds for kinds in asked if isinstance(kinds, ast.BinOp) and kinds.lineno == kinds.end_lineno]
    # From the right, so that what stands before keeps its place.
    for kinds in sorted(unions, key=lambda kinds: -kinds.col_offset):
        line = lines[kinds.lineno - 1].encode()
        told = f"({', '.join(_parts(kinds))})".encode()
        lines[kinds.lineno - 1] = (line[: kinds.col_offset] + told + line[kinds.end_col_offset :]).decode()
    return lines


def _with_finals(lines: list[str], tree: ast.Module) -> list[str]:
    """The lines with the module's constants marked as final."""
    for node in tree.body:
        if (
            isinstance(node, ast.Assign)
            and _name(node.targets[0]).isupper()
            and not _is_type_variable(node.value)
        ):
            name, line = _name(node.targets[0]), lines[node.lineno - 1]
            lines[node.lineno - 1] = f"{name}: _Final{line[len(name) :]}"
    future = next(node for node in tree.body if isinstance(node, ast.ImportFrom))
    lines[future.lineno : future.lineno] = ["from typing import Final as _Final"]
    return lines


def _is_type_variable(value: ast.expr) -> bool:
    return isinstance(value, ast.Call) and _name(value.func) == "TypeVar"


def _parts(kinds: ast.expr) -> Iterator[str]:
    if isinstance(kinds, ast.BinOp):
        yield from _parts(kinds.left)
        yield from _parts(kinds.right)
    else:
        name = ast.unparse(kinds)
        yield "type(None)" if name == "None" else name


def _options(node: ast.ClassDef) -> dict[str, bool] | None:
    """What `dataclass` was asked for; None where `node` is no class of values."""
    if _is_named_tuple(node):
        return {"frozen": True}
    decorator = _decorator(node)
    if decorator is None:
        return None
    words = decorator.keywords if isinstance(decorator, ast.Call) else []
    return {str(word.arg): bool(ast.literal_eval(word.value)) for word in words}


def _decorator(node: ast.ClassDef) -> ast.expr | None:
    """`@dataclass`, with or without words, where `node` has it."""
    called = ((d, d.func if isinstance(d, ast.Call) else d) for d in node.decorator_list)
    return next((decorator for decorator, named in called if _name(named) == "dataclass"), None)


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def _fields(node: ast.ClassDef, source: str) -> Iterator[Field]:
    for statement in node.body:
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        name, value = statement.target.id, statement.value
        annotation = ast.get_source_segment(source, statement.annotation) or ""
        if isinstance(value, ast.Call) and _name(value.func) == "field":
            words = {str(word.arg): ast.unparse(word.value) for word in value.keywords}
            in_init = words.get("init") != "False"
            yield Field(name, annotation, words.get("default"), words.get("default_factory"), in_init)
        else:
            yield Field(name, annotation, None if value is None else ast.unparse(value))


def _methods(node: ast.ClassDef, fields: list[Field], options: dict[str, bool]) -> Iterator[str]:
    given = [field for field in fields if field.in_init]
    yield ""
    yield f"    def __init__(self, {', '.join(field.parameter for field in given)}) -> None:"
    yield from (field.assignment for field in given)
    if any(isinstance(method, ast.FunctionDef) and method.name == "__post_init__" for method in node.body):
        yield "        self.__post_init__()"
    if not given:
        yield "        pass"
    if _is_named_tuple(node):
        shown = ", ".join(f"{field.name}={{self.{field.name}!r}}" for field in fields)
        yield ""
        yield "    def __repr__(self) -> str:"
        yield f'        return f"{node.name}({shown})"'
        yield ""
        yield "    def __reduce__(self) -> tuple[object, ...]:"
        yield f"        return {node.name}, ({_values(fields)})"
    if not options.get("eq", True):
        return
    same = " and ".join(f"self.{field.name} == other.{field.name}" for field in fields) or "True"
    yield ""
    yield "    def __eq__(self, other: object) -> bool:"
    yield f"        return isinstance(other, {node.name}) and (self is other or ({same}))"
    if options.get("frozen", False):
        yield ""
        yield "    def __hash__(self) -> int:"
        yield f"        return hash(({_values(fields)}))"


def _values(fields: list[Field]) -> str:
    return "".join(f"self.{field.name}, " for field in fields)


def _strip_default(lines: list[str], statement: ast.AnnAssign) -> None:
    """The constructor sets it: no class attribute is needed."""
    if statement.value is None or statement.annotation.end_col_offset is None:
        return
    first, last = statement.lineno - 1, (statement.end_lineno or statement.lineno) - 1
    lines[first] = lines[first][: statement.annotation.end_col_offset]
    lines[first + 1 : last + 1] = []


def _mark(lines: list[str], node: ast.ClassDef) -> None:
    """`dataclass` still makes what is seldom asked for: its fields, for `replace`, and how it is shown."""
    if (decorator := _decorator(node)) is not None:
        lines[decorator.lineno - 1] = "@dataclass(init=False, eq=False)"
    if _is_named_tuple(node):
        bases = ", ".join(ast.unparse(base) for base in node.bases if _name(base) != "NamedTuple")
        lines[node.lineno - 1] = f"class {node.name}({bases}):" if bases else f"class {node.name}:"


def _is_named_tuple(node: ast.ClassDef) -> bool:
    return any(_name(base) == "NamedTuple" for base in node.bases)
