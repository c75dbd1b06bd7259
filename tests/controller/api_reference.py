"""The page `docs/http-reference.md`: made from both OpenAPI documents, and from answers as they are served.

What an answer looks like is read off real ones, which the functions that serve it made of nodes in virtual
time: the keys in their order, and for each the types that were seen.  So the page cannot name a key that is
not sent, and none is sent that it does not name.  Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

HEAD = """# HTTP reference

Every endpoint for programs, with its parameters and its answers. This page is made from the OpenAPI documents
that both programs serve at `/api/openapi.json`, and from their answers; a test holds it equal to them.
[HTTP API](http-api.md) says what the parts mean, and has the headers and the pages.

In an answer, `…` stands for more elements. A type is what was seen in answers of nodes that
work, fail and rest.
"""
METHODS = ("get", "head", "post", "patch", "delete")


def reference(documents: Mapping[str, Any], answers: Mapping[str, list[Any]]) -> str:
    """The page.  `answers`: for a path of cfm, some of its answers."""
    lines = [HEAD]
    for program, document in documents.items():
        lines.append(f"## {program}\n")
        for path, operations in sorted(document["paths"].items()):
            for method in (one for one in METHODS if one in operations):
                shown = answers.get(path, []) if (program, method) == ("cfm", "get") else []
                lines += _operation(f"{method.upper()} {path}", operations[method], shown)
    return "\n".join(lines)


def _operation(title: str, operation: Mapping[str, Any], answers: list[Any]) -> Iterator[str]:
    yield f"### `{title}`\n"
    yield f"{operation['summary'].rstrip('.')}.\n"
    if parameters := operation.get("parameters"):
        yield "| parameter | in | value |\n|---|---|---|"
        yield from (f"| `{one['name']}` | {one['in']} | {_value(one)} |" for one in parameters)
        yield ""
    if body := operation.get("requestBody"):
        schemas = [one["schema"] for one in body["content"].values()]
        yield f"Body: {'; '.join(map(_body, schemas))}.\n"
    told = (f"{status} {_lower(answer['description'])}" for status, answer in operation["responses"].items())
    yield f"Answers: {'; '.join(told)}.\n"
    if answers:
        yield "\n".join(["```text", *written(merged(answers)), "```"]) + "\n"


def _lower(text: str) -> str:
    first = text.split(" ", 1)[0]
    return (text[:1].lower() + text[1:] if first[1:].islower() else text).rstrip(".")


def _value(parameter: Mapping[str, Any]) -> str:
    schema, about = parameter["schema"], [parameter.get("description", "").rstrip(".")]
    bounds = [
        f"{word} {schema[key]:,}" for word, key in (("from", "minimum"), ("to", "maximum")) if key in schema
    ]
    about += [" ".join(bounds), "required" if parameter.get("required") else ""]
    return "; ".join(filter(None, [schema["type"], *about]))


def _body(schema: Mapping[str, Any]) -> str:
    properties = schema.get("properties", {})
    told = (
        f"`{name}`: {' or '.join(of.get('enum', [of.get('type', '')]))}" for name, of in properties.items()
    )
    return "JSON with " + ", ".join(told) if properties else "JSON"


# ── the shape of an answer ──────────────────────────────────────────────────────────────────────────────


class Keyed(dict[str, Any]):
    """An object: the shape of each key."""


class Listed(list[Any]):
    """A list: the shape of its elements, or nothing where it was always empty."""


TYPES = {str: "text", bool: "true or false", int: "integer", float: "number", type(None): "null"}


def merged(values: Iterable[Any]) -> Any:
    """One shape for all of them: an object, a list, or the names of types."""
    values = list(values)
    objects = [one for one in values if isinstance(one, Mapping)]
    if objects:
        keys = dict.fromkeys(key for one in objects for key in one)
        shape = Keyed((key, merged(one[key] for one in objects if key in one)) for key in keys)
        return _open(shape) if len(shape) > 1 and not all(map(_is_name, shape)) else shape
    lists = [one for one in values if isinstance(one, list | tuple)]
    if lists:
        elements = [element for one in lists for element in one]
        return Listed([merged(elements)] if elements else [])
    names = dict.fromkeys(TYPES[type(one)] for one in values)
    if "number" in names:
        names.pop("integer", None)
    return " or ".join(sorted(names, key=lambda name: name == "null"))


def _is_name(key: str) -> bool:
    return key.replace("_", "").isalnum() and key.islower()


def _open(shape: Keyed) -> Keyed:
    """An object whose keys come from outside, such as addresses: one stands for all."""
    return Keyed({"…": next(iter(shape.values()))})


def written(shape: Any, indent: int = 0, name: str = "") -> Iterator[str]:
    """A shape as lines, one for each key."""
    before = "  " * indent + (f'"{name}": ' if name else "")
    if isinstance(shape, Listed) and shape and not isinstance(shape[0], str):
        first, *others = written(shape[0], indent)
        yield f"{before}[{first.lstrip()}"
        yield from others[:-1]
        yield f"{others[-1]}, …]" if others else "…]"
    elif isinstance(shape, Listed):
        yield f"{before}[{shape[0]}, …]" if shape else f"{before}[]"
    elif isinstance(shape, Keyed) and shape:
        yield f"{before}{{"
        for key, value in shape.items():
            yield from written(value, indent + 1, key)
        yield f"{'  ' * indent}}}"
    else:
        yield f"{before}{shape or '{}'}"
