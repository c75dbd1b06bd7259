"""`cfm plan`: what cfm would do and what it refuses.  `cfm confirm`: what a breaker holds back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from cfm.cli.render import page
from cfm.cli.render.page import ROOMY, ROWS_SHOWN, Json, Sized, said, stack, with_rest
from cfm.cli.render.servers import snapshot, some_servers
from cfm.controller.explain.words import count_words, size_words


def plan_view(plan: Json) -> RenderableType:
    """What would happen now and why, and how often what was refused; the verdict first."""

    def view(width: int) -> RenderableType:
        return stack(
            page.verdict(plan),
            page.conditions(plan["conditions"]),
            snapshot(plan["snapshot"]),
            some_servers(plan["servers"], width),
            _deeds("would copy", plan["copies"], ("source", "destination"), width),
            _deeds("would delete", plan["deletes"], ("server",), width),
            _if_deletes_were_on(plan["would_delete"], width),
            _refusals(plan),
        )

    return Sized(view)


def confirm_view(held: Json) -> RenderableType:
    """What the breakers hold back, before somebody releases them: servers, bytes, and the first files."""

    def view(width: int) -> RenderableType:
        if not held["held"]:
            return Text("No breaker holds deletes: there is nothing to confirm.", style="green")
        lines = [
            Text.assemble(
                ("● ", "yellow"),
                said(one["server"], "bold"),
                f": up to {size_words(one['would_free_bytes'])} would be deleted",
            )
            for one in held["held"]
        ]
        return Group(*lines, _deeds("would delete", held["would_delete"], ("server",), width))

    return Sized(view)


def _if_deletes_were_on(deletes: Sequence[Json], width: int) -> RenderableType | None:
    title = "would delete if deletes were on"
    return _deeds(title, deletes, ("server",), width) if deletes else None


def _deeds(title: str, deeds: Sequence[Json], where: tuple[str, ...], width: int) -> RenderableType:
    """Copies or deletes, with their reasons."""
    if not deeds:
        return Text(f"{title}: nothing", style="dim")
    total = size_words(sum(deed["size_bytes"] for deed in deeds))
    table = page.table(width, title=f"{title}: {count_words(len(deeds), 'file', 'files')}, {total}")
    for column in ("rank", "hits", "size"):
        table.add_column(column, justify="right", no_wrap=True)
    page.name_column(table, (deed["file"] for deed in deeds[:ROWS_SHOWN]), width, is_last=width < ROOMY)
    for column in (*where, "why") if width >= ROOMY else ():
        table.add_column(column, ratio=2 if column == "why" else None, overflow="fold")
    for deed in deeds[:ROWS_SHOWN]:
        numbers = f"{deed['rank']:,}", f"{deed['hits']:,}", size_words(deed["size_bytes"])
        places = [str(deed[column]) for column in where]
        if width >= ROOMY:
            table.add_row(*numbers, said(deed["file"]), *map(said, places), said(deed["reason"]))
        else:
            below = said(f"{' → '.join(places)}; {deed['reason']}", "dim")
            table.add_row(*numbers, Group(said(deed["file"]), below))
    return with_rest(table, len(deeds) - ROWS_SHOWN)


def _refusals(plan: Json) -> RenderableType | None:
    """How often each reason was given, with one example where the plan lists one."""
    if not plan["refusals_total"]:
        return None
    return Group(Text(f"refused: {plan['refusals_total']:,}", style="bold"), *_reasons(plan))


def _reasons(plan: Json) -> Iterator[Text]:
    examples: dict[tuple[str, str], Json] = {}
    for refused in plan["refusals"]:
        examples.setdefault((refused["action"], refused["reason"]), refused)
    for action, counts in plan["refusal_counts"].items():
        for reason, number in counts.items():
            example = examples.get((action, reason))
            yield Text.assemble(f"  {action} ", said(reason, "yellow"), f" × {number:,}", *_example(example))


def _example(refused: Json | None) -> Iterator[Text]:
    if refused is not None:
        where = f" on {refused['server']}" if refused["server"] else ""
        yield said(f": {refused['text']}")
        yield said(f" (such as {refused['file']}{where})", "dim")
