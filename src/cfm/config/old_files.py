"""What an old settings file means, where the earlier programs read it more freely than we do.

A file that the earlier programs took starts ours too.  Where its meaning is plain (one value where a list is
meant, `5.0`, a server that is listed twice, a key that was renamed long ago), the value is taken and the
operator is told.  Where it silently meant something else than it seems to say, the old meaning holds and the
operator is told loudly.  Nothing is guessed: the rest stays as it is written, and `load` refuses it.

These functions change the texts that `yaml_text` read, before the model sees them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias, get_origin

from pydantic.fields import FieldInfo

from cfm.addresses import only_server
from cfm.config.problems import shown
from cfm.config.sections import Section, every_key, section_of
from cfm.config.yaml_text import Loc, SettingsText

Note: TypeAlias = tuple[int, str]
"""A line of the file, and what the operator should know about it."""

_WHOLE_AS_FRACTION: Final = re.compile(r"(-?[0-9]+)\.0+")
_MOVED: Final[Mapping[str, str]] = {
    "adv_prefixes": "ignore.prefixes",
    "storage_usage_limit_percent": "remover.storage_usage_limit_percent",
    "task_timeout_sec": "tasker.task_timeout_sec",
    "task_copy_speed_bps": "tasker.task_copy_speed_bps",
}
"""Keys of the first version of the earlier cfm, which later versions left unread."""
_UNREAD: Final = ("if_name",)
"""Keys of the first version of the earlier cfw."""


def read_as_before(text: SettingsText, model: type[Section]) -> list[Note]:
    """Give the values of an old file the form that the model expects.  Returns what the operator is told."""
    keys = dict(every_key(model))
    steps: tuple[Callable[[SettingsText, Mapping[str, FieldInfo]], Iterator[Note]], ...] = (
        lambda text, _keys: _other_case(text, model, ()),
        _keys_of_long_ago,
        _single_values,
        _fractions,
        _repeated_servers,
        _runs_without_remover,
        _watched_server,
        _hits_that_were_not_set,
    )
    return [note for step in steps for note in step(text, keys)]


# --- the form


def _other_case(text: SettingsText, model: type[Section], above: Loc) -> Iterator[Note]:
    """The earlier programs did not distinguish upper and lower case in keys."""
    section = _at(text, above)
    if not isinstance(section, dict):
        return
    for key in list(section):
        name = key.lower()
        if key not in model.model_fields and name in model.model_fields and name not in section:
            line = text.lines[*above, key]
            _rename(text, (*above, key), (*above, name))
            yield line, f"{shown(key)} is taken as {name}"
    for key in list(section):
        field = model.model_fields.get(key)
        below = section_of(field) if field else None
        if below is not None:
            yield from _other_case(text, below, (*above, key))


def _keys_of_long_ago(text: SettingsText, keys: Mapping[str, FieldInfo]) -> Iterator[Note]:
    """Files carry keys that no later version read.  Only ads are still protected by theirs."""
    for key, name in _MOVED.items():
        if key not in text.values or key in keys or name not in keys:
            continue
        line, loc = text.lines[key,], tuple(name.split("."))
        ignore = text.values.get("ignore") or {}
        if key == "adv_prefixes" and isinstance(ignore, dict) and not ignore.get("prefixes"):
            text.values["ignore"] = ignore
            text.lines.setdefault(("ignore",), line)
            _rename(text, (key,), loc)
            yield line, f"{key} is taken as {name}"
        else:
            _remove(text, (key,))
            yield line, f"{key} is without effect: its name is {name}"
    for key in _UNREAD:
        if key in text.values and "base_dir" in keys:
            line = text.lines[key,]
            _remove(text, (key,))
            yield line, f"{key} is without effect: its meaning is in listen_addr"


def _single_values(text: SettingsText, keys: Mapping[str, FieldInfo]) -> Iterator[Note]:
    """One value, or several with commas, where a list is meant."""
    for name, field in keys.items():
        loc = tuple(name.split("."))
        value = _at(text, loc)
        # `cfm_addr`, which is required, may be one address as it always was.
        if get_origin(field.annotation) is not tuple or field.is_required():
            continue
        if not isinstance(value, str) or not value.strip():
            continue
        items = [item.strip() for item in value.split(",")]
        line = text.lines[loc]
        _set(text, loc, items)
        text.lines.update({(*loc, number): line for number in range(len(items))})
        yield line, f"{name} is taken as a list of {len(items)}: write each value on a line of its own"


def _fractions(text: SettingsText, keys: Mapping[str, FieldInfo]) -> Iterator[Note]:
    for name, field in keys.items():
        loc = tuple(name.split("."))
        value = _at(text, loc)
        found = _WHOLE_AS_FRACTION.fullmatch(value) if isinstance(value, str) else None
        if found and field.annotation is int:
            _set(text, loc, found[1])
            yield text.lines[loc], f"{name}: {value} is taken as {found[1]}"


def _repeated_servers(text: SettingsText, _keys: Mapping[str, FieldInfo]) -> Iterator[Note]:
    """The same server twice in one list is one server.  Two spellings of one are refused by `load`."""
    for key in ("sources", "destinations"):
        loc = ("servers", key)
        items = _at(text, loc)
        if not isinstance(items, list):
            continue
        lines = [text.lines[*loc, number] for number in range(len(items))]
        kept: dict[object, int] = {}
        for number, item in enumerate(items):
            if not isinstance(item, str) or not item:
                kept[number] = number
            elif item in kept:
                first = lines[kept[item]]
                yield (
                    lines[number],
                    f"servers.{key}: {shown(item)} counts once; it is on line {first} already",
                )
            else:
                kept[item] = number
        _set(text, loc, [items[number] for number in kept.values()])
        text.lines.update({(*loc, new): lines[old] for new, old in enumerate(kept.values())})


# --- the meaning


def _runs_without_remover(text: SettingsText, keys: Mapping[str, FieldInfo]) -> Iterator[Note]:
    """The earlier cfm ran what `setup_runs` names.  Where that was not the remover, it deleted nothing."""
    loc = ("runner", "setup_runs")
    runs = _at(text, loc)
    if "deletes" not in keys or not runs or _names_remover(runs, _at(text, ("runner",))):
        return
    line = text.lines[loc]
    if _at(text, ("deletes",)) is None:
        text.values["deletes"] = "off"
        text.lines["deletes",] = line
        yield (
            line,
            (
                "runner.setup_runs names no remover, so the earlier cfm deleted nothing: DELETES ARE OFF "
                "here too; write `deletes: on` for deletes, and remove setup_runs"
            ),
        )
    else:
        yield line, "runner.setup_runs is without effect, and it names no remover: `deletes` says what holds"


_USUAL_RUNS: Final = {
    "eventruns": True,
    "eventtimeoutruns": True,
    "betweeneventsruns": True,
    "periodicruns": False,
}
"""Does each list of runs have the remover, where the file does not name the list?"""


def _names_remover(runs: object, runner: Any) -> bool:
    if not isinstance(runs, dict):
        return any("remover" in word for word in _words(runs))
    found = dict(_USUAL_RUNS)
    for key, names in runs.items():
        words = list(_words(names))
        if words:
            found[key.lower().replace("_", "")] = any("remover" in word for word in words)
    if str(runner.get("periodic_run_interval_sec") or "0") == "0":
        del found["periodicruns"]
    return any(found.values())


def _words(value: object) -> Iterator[str]:
    """All texts in a value, however it is nested."""
    if isinstance(value, str):
        yield value.lower()
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _words(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _words(inner)


def _watched_server(text: SettingsText, keys: Mapping[str, FieldInfo]) -> Iterator[Note]:
    """In the earlier cfm this was a regular expression, which matched anywhere in the text of an event."""
    watched = _at(text, ("watch_ip_string",))
    if "watch_ip_string" not in keys or not isinstance(watched, str) or not watched:
        return
    line, server = text.lines["watch_ip_string",], only_server(watched)
    if server is None:
        yield (
            line,
            (
                f"watch_ip_string: {shown(watched)} is taken as a regular expression, as in the earlier cfm: "
                "hits count at every server whose event it matches"
            ),
        )
    elif server != watched:
        yield line, f"watch_ip_string: {shown(watched)} is taken as the server {server}"


def _hits_that_were_not_set(text: SettingsText, keys: Mapping[str, FieldInfo]) -> Iterator[Note]:
    watches = all(_at(text, (key,)) for key in ("watch_dir", "watch_ip_string"))
    if "watch_hit_base" in keys and watches and not _at(text, ("watch_hit_base",)):
        line = text.lines["watch_dir",]
        usual = keys["watch_hit_base"].default
        yield (
            line,
            (
                f"watch_hit_base is not set: a file rises at {usual} hits; the earlier cfm took 3, "
                "so write `watch_hit_base: 3` for the same"
            ),
        )


# --- the texts


def _at(text: SettingsText, loc: Loc) -> Any:
    value: Any = text.values
    for step in loc:
        if not isinstance(value, dict):
            return None
        value = value.get(step)
    return value


def _set(text: SettingsText, loc: Loc, value: Any) -> None:
    _at(text, loc[:-1])[loc[-1]] = value


def _remove(text: SettingsText, loc: Loc) -> Any:
    return _at(text, loc[:-1]).pop(loc[-1])


def _rename(text: SettingsText, old: Loc, new: Loc) -> None:
    """The value of a key under another key.  Its lines follow."""
    _set(text, new, _remove(text, old))
    moved = {loc: line for loc, line in text.lines.items() if loc[: len(old)] == old}
    text.lines.update({(*new, *loc[len(old) :]): line for loc, line in moved.items()})
