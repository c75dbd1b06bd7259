"""The overview: how the node is, what is wrong and what to do, and what it is doing, at a glance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from cfm.controller.explain.sentences import event_words
from cfm.controller.explain.trends import Ring, Trends, ended
from cfm.controller.explain.words import count_words
from cfm.controller.serve.html import Child, Html, tag
from cfm.controller.serve.pages import cells, charts, tables
from cfm.controller.serve.pages.cells import Names
from cfm.controller.serve.pages.frame import Json, Page, columns, facts, heading, page, section
from cfm.controller.serve.pages.parts import Content, Part, part

DISKS_IN_FULL: Final = 24
"""So many disks are told one by one.  Of more there is a strip, and the ones to look at."""
WORTH_A_LOOK: Final = 12
TRANSFERS_SHOWN: Final = 60
LAST_DECISIONS: Final = 12
_MOODS: Final = {"ok": "good", "busy": "good", "degraded": "held", "critical": "bad"}
"""The colour of a verdict, by its level."""


def overview(status: Json, trends: Trends, recent: Sequence[Json]) -> Page:
    """`recent`: the last decisions, oldest first."""
    names = cells.names_of(status["servers"])
    return page(
        "Overview",
        "/",
        heading("Overview", hidden=True),
        health(status),
        conditions(status, names),
        _pictures(trends, status),
        _disks(status["servers"], names),
        section("transfers", "Copies now", *_transfers(status["transfers"], names)),
        columns(
            "below",
            part(
                "div",
                "beside",
                section(
                    "ways",
                    "From where to where",
                    tables.matrix(status["transfers"], status["servers"], names),
                ),
                section("rising", "Rising files", tables.rising(status["rising"], trends.curves)),
                section("metadata", "What cfm reads", *_metadata(status)),
                cls="stack",
            ),
            section("decisions", "Last decisions", decisions(recent, status["at"])),
        ),
    )


# ── health ──────────────────────────────────────────────────────────────────────────────────────────────


def health(status: Json) -> Part:
    """The verdict in one word and one sentence with how far long work is, and the figures that one looks for
    first."""
    level = str(status["health"])
    mood = _MOODS.get(level, "held")
    under_way = (one["text"] for one in status.get("progress", ()))
    line = part(
        "p",
        "verdict",
        tag("span", level, cls="level"),
        tag("span", cells.marked("; ".join([status["verdict"], *under_way])), cls="line"),
        cls=f"verdict {mood}",
    )
    return part("section", "health", line, _figures(status), attrs={"aria-label": "Health"})


def _figures(status: Json) -> Part:
    totals, backlog, servers = status["totals"], status["backlog"], status["servers"]
    deleted = totals.get("deleted_surplus", 0) + totals.get("deleted_space", 0)
    pending = backlog["pending"]
    shown: list[tuple[str, Child, str]] = [
        ("Servers up", f"{sum(s['state'] == 'up' for s in servers)} of {len(servers)}", ""),
        ("To copy", cells.size(pending["bytes"]), _left(pending)),
        ("Not placed", f"{backlog['wanted']:,}", f"{_files(pending['no_space_files'])} without space"),
        ("Rising", f"{len(status['rising']):,}", "files"),
        ("Copied", cells.size(totals.get("copied_bytes", 0)), _files(totals.get("copied_files", 0))),
        ("Deleted", cells.size(totals.get("deleted_bytes", 0)), _files(deleted)),
        ("Failed copies", f"{totals.get('failed_copies', 0):,}", "since the start"),
    ]
    return facts(
        "figures", [(name, [value, " ", tag("small", more)]) for name, value, more in shown], "figures"
    )


def _files(number: int) -> str:
    return count_words(number, "file", "files")


def _left(pending: Json) -> str:
    if not pending["files"]:
        return "nothing"
    if pending["left_s"] is None:
        return _files(pending["files"])
    return f"{_files(pending['files'])}, {cells.span(pending['left_s'])} at {cells.rate(pending['rate_bps'])}"


def conditions(status: Json, names: Names) -> Part:
    """What should be known, worst first; an empty place where nothing is."""
    found = [_condition(place, one, status["at"], names) for place, one in enumerate(status["conditions"])]
    notes = [tag("li", cells.sentence(note), cls="note") for note in status.get("notes", ())]
    if not found and not notes:
        return part("div", "conditions")
    title = tag("h2", "Conditions", attrs={"id": "conditions-title"})
    return part(
        "section",
        "conditions",
        title,
        tag("ul", notes, cls="notes") if not found else part("ul", "conditions-list", found, notes),
        attrs={"aria-labelledby": "conditions-title"},
        cls="conditions",
    )


def _condition(place: int, one: Json, at_s: int, names: Names) -> Part:
    """What is so, for how long, at which servers, and what to do about it."""
    since_s, servers = one["since_at"], one["servers"]
    since = f"for {cells.span(max(0, at_s - since_s))}" if since_s is not None else ""
    cost = ", ".join(
        ([_files(one["files"])] if one["files"] else [])
        + ([cells.size(one["bytes"])] if one["bytes"] else [])
    )
    details: list[Child] = [word for word in (since, cost) if word]
    if servers:
        details.append(cells.servers(servers, names))
    remedy = tag("p", tag("strong", "What to do: "), cells.sentence(one["remedy"]), cls="remedy")
    return part(
        "li",
        f"condition-{place}",
        tag(
            "p",
            tag("span", one["level"], cls="level"),
            " ",
            tag("code", one["name"]),
            tag("span", _joined(details), cls="quiet") if details else None,
            cls="what",
        ),
        tag("p", cells.sentence(one["text"])),
        remedy if one["remedy"] else None,
        cls=str(one["level"]),
    )


def _joined(words: Sequence[Child]) -> list[Child]:
    return [piece for place, word in enumerate(words) for piece in ((" · ", word) if place else (word,))]


# ── pictures ────────────────────────────────────────────────────────────────────────────────────────────


def _pictures(trends: Trends, status: Json) -> Part:
    ring = trends.shown
    sources = sum("source" in server["role"] for server in status["servers"])
    drawn = ("busy", _busy(ring, max(1, sources))), ("moved", _moved(ring)), ("served", _served(ring))
    figures = [part("div", f"picture-{name}", svg) for name, svg in drawn]
    return part("section", "pictures", figures, attrs={"aria-label": "Over time"}, cls="pictures")


def _busy(ring: Ring, sources: int) -> Html:
    shares = ended(ring.busy_shares(sources))
    now = f"{100 * _lately(shares):.0f} %"
    svg = charts.areas([(shares, "busy")], 1.0, f"Sources busy: {now} lately")
    return charts.picture("Sources busy", now, svg, len(shares), ring.step_s, "100 %")


def _moved(ring: Ring) -> Html:
    copied, freed = ring.whole_steps("copied_bytes"), ring.whole_steps("freed_bytes")
    top = max([1.0, *copied, *freed])
    words = f"{cells.size(int(sum(copied)))} copied", f"{cells.size(int(sum(freed)))} freed"
    svg = charts.areas([(copied, "moved"), (freed, "freed line")], top, ", ".join(words))
    label = [tag("span", words[0], cls="key moved"), " ", tag("span", words[1], cls="key freed")]
    told = f"{cells.size(int(top))} in {cells.span(ring.step_s)}" if top > 1 else ""
    return charts.picture("Bytes moved", label, svg, len(copied), ring.step_s, told)


def _served(ring: Ring) -> Html:
    """The share of viewers' requests that destinations served, in steps with any."""
    disks, san = ring.whole_steps("hits_on_disks"), ring.whole_steps("hits_on_san")
    total = sum(disks) + sum(san)
    shares, last = [], 0.0
    for here, there in zip(disks, san, strict=True):
        last = here / (here + there) if here + there else last
        shares.append(last)
    words = f"{100 * sum(disks) / total:.0f} % of {int(total):,}" if total else "no hits seen"
    svg = charts.areas([(shares, "served")], 1.0, f"Hits served from disks, not from the SAN: {words}")
    return charts.picture("Hits served from disks", words, svg, len(shares), ring.step_s, "100 %")


def _lately(values: Sequence[float]) -> float:
    """The mean of the last steps."""
    last = values[-4:]
    return sum(last) / max(1, len(last))


def _transfers(running: Sequence[Json], names: Names) -> tuple[Content, ...]:
    """The first of them, and how many more there are."""
    rest = len(running) - TRANSFERS_SHOWN
    more = tag("p", f"And {rest:,} more.", cls="quiet") if rest > 0 else None
    return tables.transfers(running[:TRANSFERS_SHOWN], names), more


# ── disks ───────────────────────────────────────────────────────────────────────────────────────────────


_COLUMN_MOODS: Final = (("over", "above its limit"), ("down", "down"), ("unknown", "unknown"))
"""The colours of the strip that say that something is wrong; they are others in the dark."""


def _disks(servers: Sequence[Json], names: Names) -> Part:
    destinations = [server for server in servers if "destination" in server["role"]]
    if len(destinations) <= DISKS_IN_FULL:
        return section("disks", "Disks", tables.disks(destinations, names))
    worst = sorted(destinations, key=trouble_first)[:WORTH_A_LOOK]
    note = [
        f"{len(destinations):,} destinations, a column each; the line is the limit. ",
        [[tag("span", words, cls=f"key {mood}"), " "] for mood, words in _COLUMN_MOODS],
    ]
    return section(
        "disks",
        "Disks",
        tables.strip(destinations, names),
        tag("h3", "Worth a look"),
        tables.disks(worst, names),
        note=note,
    )


def trouble_first(server: Json) -> tuple[int, int]:
    """What is wrong comes first, then what is nearest to its limit."""
    wrong = server["state"] != "up" or server["used_percent"] is None or server["why"] or server["pauses"]
    rank = 0 if cells.is_over(server) else 1 if wrong else 2
    return rank, (server["used_percent"] or 0) * -1


# ── decisions and metadata ──────────────────────────────────────────────────────────────────────────────


def decisions(
    events: Sequence[Json],
    now_s: float,
    most: int = LAST_DECISIONS,
    *,
    also_small: bool = False,
    empty: str = "Nothing was decided since cfm started.",
) -> Html:
    """The newest first.  `also_small`: with those that are only for finding faults."""
    told = [event for event in events if also_small or event.get("level") != "debug"][: -most - 1 : -1]
    if not told:
        return tag("p", empty, cls="quiet")
    return tag("ol", [_decision(event, now_s) for event in told], cls="story")


def _decision(event: Mapping[str, Any], now_s: float) -> Html:
    level = str(event.get("level", ""))
    words: Child = event_words(event)
    name = event.get("file")
    if isinstance(name, str) and name:
        words = _with_link(str(words), name)
    return tag(
        "li",
        tag("time", cells.moment(event["at"], now_s)),
        tag("span", words),
        cls=level if level in ("warning", "error") else "",
    )


def _with_link(words: str, name: str) -> list[Child]:
    before, found, after = words.partition(name)
    return [before, cells.file(name), after] if found else [words]


def _metadata(status: Json) -> tuple[Child, ...]:
    """The metadata in force, and the event log."""
    snapshot, log = status["snapshot"], status["event_log"]
    skipped = sum(snapshot["skipped_lines"].values())
    if not snapshot["accepted"]:
        first: Child = tag("p", f"cfm has no valid grade and history files: {snapshot['why']}", cls="bad")
    else:
        first = tag(
            "p",
            f"{snapshot['known_files']:,} of {snapshot['graded_files']:,} graded files are known; the grade "
            f"and history files are {cells.span(snapshot['age_s'])} old; {skipped:,} lines were skipped.",
        )
    rejected = f"The newest files are rejected: {snapshot['why']}"
    return (
        first,
        tag("p", rejected, cls="bad") if snapshot["why"] and snapshot["accepted"] else None,
        tag("p", _log_words(log)),
    )


def _log_words(log: Json | None) -> str:
    if log is None:
        return "No event log is configured, so cfm does not see which files become popular."
    newest = f"its newest event is {cells.span(max(0, log['age_s']))} old" if log["age_s"] is not None else ""
    known = "hits are known" if log["hits_known"] else "hits are unknown"
    return f"Event log: {log['condition']}; " + "; ".join(word for word in (newest, known) if word) + "."
