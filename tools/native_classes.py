"""Value classes as a compiler to native code likes them: with methods of their own.

mypyc knows the attributes of a dataclass, but leaves the methods that Python makes for it to the interpreter:
constructor, comparison and hash.  `rewritten` writes these methods out.  The result means the same, and only
the compiler reads it.
"""

# ruff: noqa: INP001 - part of a program, not of a package

from __future__ import annotations

import ast
from collections.abc import Iterator


def rewritten(source: str) -> str:
    """`source` with the methods of its value classes written out.

    Raises:
        ValueError: a value class is generic.  The compiled one could not be imported: make it a `NamedTuple`.
    """
    lines = source.splitlines()
    for node in reversed(ast.parse(source).body):  # from the end, so that earlier line numbers stay right
        if isinstance(node, ast.ClassDef):
            begin = min(part.lineno for part in (node, *node.decorator_list)) - 1
            if _write_out(node):
                lines[begin : node.end_lineno] = ast.unparse(node).splitlines()
    return "\n".join(lines) + "\n"


def _write_out(node: ast.ClassDef) -> bool:
    """Give `node` its methods; says whether it is a class of values."""
    made_by = {ast.unparse(_called(decorator)): _words(decorator) for decorator in node.decorator_list}
    if "dataclass" not in made_by:
        return False
    if any(ast.unparse(base).startswith("Generic[") for base in node.bases):
        raise ValueError(f"the value class {node.name} is generic: make it a NamedTuple")
    fields = [line for line in node.body if isinstance(line, ast.AnnAssign)]
    methods = [*_constructor(node, fields), *_comparison(node, fields, made_by["dataclass"])]
    # `dataclass` still makes what is seldom needed: the list of fields for `replace`, and the `repr`.
    node.decorator_list = [ast.parse("dataclass(init=False, eq=False)", mode="eval").body]
    for field in fields:
        field.value = None  # the constructor sets it
    node.body += ast.parse("\n".join(methods)).body
    return True


def _constructor(node: ast.ClassDef, fields: list[ast.AnnAssign]) -> Iterator[str]:
    parameters, lines = ["self"], []
    for field in fields:
        name, kind, words = ast.unparse(field.target), ast.unparse(field.annotation), _default(field.value)
        if words.get("init") == "False":
            continue
        given, default = name, words.get("default")
        if factory := words.get("default_factory"):
            given, kind, default = f"({factory})() if {name} is None else {name}", f"{kind} | None", "None"
        parameters.append(f"{name}: {kind}" if default is None else f"{name}: {kind} = {default}")
        lines.append(f"    self.{name} = {given}")
    methods = {line.name for line in node.body if isinstance(line, ast.FunctionDef)}
    yield f"def __init__({', '.join(parameters)}) -> None:"
    yield from lines
    yield "    self.__post_init__()" if "__post_init__" in methods else "    pass"


def _comparison(node: ast.ClassDef, fields: list[ast.AnnAssign], options: dict[str, str]) -> Iterator[str]:
    if options.get("eq") == "False":
        return
    names = [ast.unparse(field.target) for field in fields]
    same = " and ".join(f"self.{name} == other.{name}" for name in names) or "True"
    yield "def __eq__(self, other: object) -> bool:"
    yield f"    return isinstance(other, {node.name}) and (self is other or ({same}))"
    if options.get("frozen") == "True":
        yield "def __hash__(self) -> int:"
        yield f"    return hash(({''.join(f'self.{name}, ' for name in names)}))"


def _default(value: ast.expr | None) -> dict[str, str]:
    """What the source gives as the value of a field, in the words of `field`."""
    if value is None:
        return {}
    is_field = ast.unparse(_called(value)) == "field"
    return _words(value) if is_field else {"default": ast.unparse(value)}


def _called(made: ast.expr) -> ast.expr:
    return made.func if isinstance(made, ast.Call) else made


def _words(made: ast.expr) -> dict[str, str]:
    """The keywords of a call, as they stand in the source."""
    keywords = made.keywords if isinstance(made, ast.Call) else []
    return {str(word.arg): ast.unparse(word.value) for word in keywords}
