"""`cfm config show --effective` and `cfm reload`: settings, where they come from, and what changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from cfm.cli.render import page
from cfm.cli.render.page import Json, Sized, said, stack
from cfm.controller.explain.words import count_words, size_words


def settings_view(found: Json) -> RenderableType:
    """Every setting in force; those of the file stand out."""

    def view(width: int) -> RenderableType:
        table = page.table(width)
        table.add_column("key", no_wrap=True)
        table.add_column("value", ratio=1, overflow="fold")
        table.add_column("from", no_wrap=True)
        for one in found["settings"]:
            is_set = one["from"] == "file"
            where = f"line {one['line']}" if is_set else one["from"]
            value = said(value_words(one["value"]), "bold" if is_set else "")
            if "at_next_start" in one:
                next_value = value_words(one["at_next_start"])
                value.append_text(said(f"  (at the next start: {next_value})", "yellow"))
            table.add_row(said(one["key"]), value, Text(where, style="" if is_set else "dim"))
        return stack(said(f"settings file {found['file']}", "dim"), table)

    return Sized(view)


def reload_view(told: Json) -> RenderableType:
    """What a reload changed, or would change."""
    return Group(*_lines(told))


def _lines(told: Json) -> Iterator[Text]:
    if not told["changes"]:
        yield Text("The settings are as before: nothing changes.", style="green")
    for one in told["changes"]:
        when = (
            "at the next start" if one["needs_restart"] else "at once" if "plan" in told else "now in force"
        )
        style = "yellow" if one["needs_restart"] else "green"
        yield Text.assemble(
            said(one["key"], "bold"),
            said(f": {value_words(one['from'])} → {value_words(one['to'])} "),
            (f"({when})", style),
        )
    if "plan" in told and told["changes"]:
        yield from _plans(told["plan"])
        yield Text("Nothing is changed yet: `cfm reload` does it.", style="dim")
    elif any(one["needs_restart"] for one in told["changes"]):
        yield Text(
            "What is marked “at the next start” needs a restart of cfm. Running copies go on.", style="yellow"
        )


def _plans(plan: Json) -> Iterator[Text]:
    for name, words in (("now", "as it is"), ("then", "with the new settings")):
        chosen = plan[name]
        yield Text.assemble(
            (f"{words}: ", "bold"),
            said(f"{_deeds('copy', chosen['copies'])}, {_deeds('delete', chosen['deletes'])}"),
        )
        if chosen["back"]["files"]:
            yield said(f"  {_back(chosen['back'])}", "green")
        for held in chosen["held"]:
            would = size_words(held["would_free_bytes"])
            yield said(f"  the breaker at {held['server']} would hold deletes of {would}", "yellow")
        if chosen["over_limit"]:
            yield said(f"  over the limit: {', '.join(chosen['over_limit'])}", "yellow")


def _back(back: Json) -> str:
    more = back["files"] - len(back["first"])
    names = ", ".join(back["first"]) + (f" and {more:,} more" if more else "")
    files = f"{count_words(back['files'], 'file', 'files')} ({size_words(back['bytes'])})"
    were, come = ("was", "comes") if back["files"] == 1 else ("were", "come")
    return f"{files} that {were} deleted for space {come} back: {names}"


def _deeds(verb: str, chosen: Any) -> str:
    return f"{verb} {count_words(chosen['files'], 'file', 'files')} ({size_words(chosen['bytes'])})"


def value_words(value: Any) -> str:
    """A value as one writes it in the file."""
    if value is None or value == []:
        return "–"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)
