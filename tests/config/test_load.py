"""Settings files: old ones load unchanged, odd ones are refused with every reason and the right line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cfm.config import CfmSettings, CfwSettings, SettingsFileError, load_cfm, load_cfw
from cfm.config.yaml_text import MOST_BYTES
from cfm.errors import SettingsError

DATA = Path(__file__).parents[1] / "data" / "settings"
CFW = "listen_addr: 127.0.2.1:8888\ncfm_addr: 127.0.0.1:8080\nbase_dir: data\n"
LIMIT = "remover.storage_usage_limit_percent"


def cfm_of(folder: Path, text: str) -> CfmSettings:
    file = folder / "cfm.yml"
    file.write_text(text, "utf-8")
    return load_cfm(file)


def cfw_of(folder: Path, text: str) -> CfwSettings:
    file = folder / "cfw.yml"
    file.write_text(text, "utf-8")
    return load_cfw(file)


def refused(folder: Path, text: str | bytes) -> list[tuple[int | None, str, str]]:
    """Line, key and text of every problem of a `cfm.yml`."""
    file = folder / "cfm.yml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SettingsFileError) as error:
        load_cfm(file)
    return [(problem.line, problem.key, problem.text) for problem in error.value.problems]


# --- what is accepted -------------------------------------------------------------------------------


def test_the_old_cfm_file_loads_unchanged() -> None:
    found = load_cfm(DATA / "cfm.yml")
    assert found.log_dir == DATA / "log"
    assert found.listen_addr == "127.0.0.1:8080"
    assert found.ignore.prefixes == ("M64", "MN1")
    assert found.grade_info_file == DATA / "grade.info"
    assert found.hitcount_history_file == DATA / "hitcount.history"
    assert (found.watch_dir, found.watch_ip_string) == (DATA, "125.159.40.3")
    assert found.source_dirs == (DATA / "san/data2", DATA / "san/data3")
    assert found.remover.storage_usage_limit_percent == 99
    assert found.servers.heartbeat_interval_sec == 5
    assert found.servers.sources == ("127.0.1.1:8888", "127.0.1.2:8888", "127.0.1.3:8888")
    assert found.servers.destinations[0] == "127.0.2.1:8888"
    assert found.deletes
    assert found.state.path == DATA / "cfm.db"
    assert (found.folder, found.file) == (DATA, DATA / "cfm.yml")


def test_the_old_cfw_file_loads_unchanged() -> None:
    found = load_cfw(DATA / "cfw.yml")
    assert (found.listen_addr, found.cfm_addr, found.name) == (
        "127.0.2.1:8888",
        ("127.0.0.1:8080",),
        "127.0.2.1:8888",
    )
    assert found.base_dir == DATA / "data"
    assert found.downloader_bin == DATA / "downloader.sh"
    assert found.downloader_download_success_match_string.search("copied Successfully.")
    assert found.state.path == DATA / "cfw.db"


def test_old_keys_that_mean_nothing_now_are_noted_with_their_line() -> None:
    notes = load_cfm(DATA / "cfm.yml").notes
    assert [note.split(" is without effect")[0] for note in notes] == [
        f"{DATA / 'cfm.yml'}:4: enable_coredump",
        f"{DATA / 'cfm.yml'}:25: watcher.fire_initial_event",
    ]


def test_obsolete_keys_are_taken_in_any_form(tmp_path: Path) -> None:
    text = (
        "remover:\n  remover_sleep_sec : 3\ntasker: {tasker_sleep_sec: x}\n"
        "runner:\n  setup_runs:\n  - a: [runRemover]"
    )
    assert len(cfm_of(tmp_path, text).notes) == 3


@pytest.mark.parametrize(
    ("written", "found"),
    [
        (":8080", "127.0.0.1:8080"),
        ("0.0.0.0:8080", "127.0.0.1:8080"),
        ("'[::]:8080'", "[::1]:8080"),
        ("vod-center:8080", "vod-center:8080"),
    ],
)
def test_a_cfm_without_a_host_is_on_this_machine(tmp_path: Path, written: str, found: str) -> None:
    text = f"listen_addr: :8888\ncfm_addr: {written}\nbase_dir: data\n"
    assert cfw_of(tmp_path, text).cfm_addr == (found,)


def test_a_worker_may_know_several_cfm(tmp_path: Path) -> None:
    text = "listen_addr: :8888\ncfm_addr: [10.0.0.1:8080, '10.0.0.2:8080']\nbase_dir: data\n"
    assert cfw_of(tmp_path, text).cfm_addr == ("10.0.0.1:8080", "10.0.0.2:8080")


def test_text_stays_what_is_written(tmp_path: Path) -> None:
    prefixes = ["NO", "010", "1e3", "true", "null", "~x", "0x1F", "2018-06-02", "12:30:45"]
    text = "ignore:\n  prefixes:\n" + "".join(f"  - {prefix}\n" for prefix in prefixes)
    assert cfm_of(tmp_path, text).ignore.prefixes == tuple(prefixes)


@pytest.mark.parametrize("empty", ["", "~", "null", '""'])
def test_a_key_without_a_value_has_its_default(tmp_path: Path, empty: str) -> None:
    keys = ["log_dir", "log_level", "watch_dir", "source_dirs", "ignore", "remover", "state", "servers"]
    found = cfm_of(tmp_path, "".join(f"{key}: {empty}\n" for key in keys))
    assert found == cfm_of(tmp_path, "listen_addr: 127.0.0.1:8080\n")
    assert found.log_dir == tmp_path / "log"
    assert found.state.url == f"sqlite:///{tmp_path}/cfm.db"


@pytest.mark.parametrize("text", ["a\r\n", "a\n", "\ufeffa\n"])
def test_line_ends_and_a_byte_order_mark_do_not_matter(tmp_path: Path, text: str) -> None:
    assert cfm_of(tmp_path, text.replace("a", "watch_hit_base: 7")).watch_hit_base == 7


@pytest.mark.parametrize(
    "address", [":8080", "0.0.0.0:1", "[::1]:65535", "center-1.vod_a:80", "localhost:80"]
)
def test_addresses_stay_as_they_are_spelled(tmp_path: Path, address: str) -> None:
    assert cfm_of(tmp_path, f'listen_addr: "{address}"').listen_addr == address


@pytest.mark.parametrize(
    ("written", "meant"), [("on", True), ("Yes", True), ("TRUE", True), ("off", False), ("no", False)]
)
def test_switches(tmp_path: Path, written: str, meant: bool) -> None:
    assert cfm_of(tmp_path, f"deletes: {written}").deletes is meant


def test_an_old_interval_of_zero_is_a_second(tmp_path: Path) -> None:
    found = cfm_of(tmp_path, "runner: {between_events_run_interval_sec: 0, periodic_run_interval_sec: 0}")
    assert found.runner.between_events_run_interval_sec == 1
    assert found.runner.periodic_run_interval_sec == 0


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("log", "{}/log"),
        ("./a//b/", "{}/a/b"),
        ("//var//log", "/var/log"),
        ("../x", "{0.parent}/x"),
        (".", "{}"),
    ],
)
def test_paths_are_absolute_and_without_doubled_slashes(tmp_path: Path, written: str, meant: str) -> None:
    assert str(cfm_of(tmp_path, f"log_dir: {written}").log_dir) == meant.format(tmp_path)


def test_state_may_lie_elsewhere(tmp_path: Path) -> None:
    assert cfm_of(tmp_path, "state: {url: 'sqlite:////var/lib/cfm.db'}").state.path == Path("/var/lib/cfm.db")


def test_state_may_be_in_a_database(tmp_path: Path) -> None:
    url = "postgresql://cfm@db1.example,db2.example:5433/cfm?sslmode=verify-full"
    found = cfm_of(tmp_path, f"state: {{url: '{url}'}}").state
    assert (found.url, found.is_shared) == (url, True)
    assert not cfm_of(tmp_path, "log_dir: log").state.is_shared


def test_one_server_may_be_both(tmp_path: Path) -> None:
    both = "servers:\n  sources: [10.0.0.1:80, 10.0.0.2:80]\n  destinations: [10.0.0.2:80, 10.0.0.3:80]\n"
    assert cfm_of(tmp_path, both).servers.addresses == ("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80")


def test_the_advertised_address_names_a_worker(tmp_path: Path) -> None:
    text = CFW.replace("127.0.2.1:8888", ":8888") + "advertise_addr: 127.0.2.9:8888\n"
    assert cfw_of(tmp_path, text).name == "127.0.2.9:8888"


def test_settings_can_be_made_without_a_file(tmp_path: Path) -> None:
    made = CfwSettings(listen_addr="127.0.2.1:8888", cfm_addr=":8080", base_dir=tmp_path, quota_bytes=10)
    assert (made.base_dir, made.quota_bytes, made.file, made.notes) == (tmp_path, 10, None, ())


# --- what is refused --------------------------------------------------------------------------------


def test_every_problem_is_told_with_its_line_and_remedy(tmp_path: Path) -> None:
    file = tmp_path / "cfm.yml"
    file.write_text(
        "log_level: infos\nremover:\n  storage_usage_limit_percent: 101\n  minimum_stay: 5\ndeletes: maybe\n"
    )
    with pytest.raises(SettingsError) as error:
        load_cfm(file)
    assert str(error.value).splitlines() == [
        f"{file}:1: log_level: `infos` is not a log level; did you mean `info`?",
        f"{file}:3: {LIMIT}: 101 is not a percentage from 1 to 100; write for example 90",
        f"{file}:4: remover.minimum_stay: unknown key; did you mean `remover.minimum_stay_sec`?",
        f"{file}:5: deletes: `maybe` is neither on nor off; write `on` or `off`",
    ]
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    ("key", "remedy"),
    [
        ("minimum_stay_sec", "did you mean `remover.minimum_stay_sec`?"),
        ("log_levl", "did you mean `log_level`?"),
        ("servers.sources", "write `sources` below `servers:`"),
        ("xyzzy", "remove it, or see docs/settings.md"),
    ],
)
def test_an_unknown_key_gets_the_key_that_was_probably_meant(tmp_path: Path, key: str, remedy: str) -> None:
    with pytest.raises(SettingsFileError) as error:
        cfm_of(tmp_path, f"{key}: 1\n")
    assert [problem.remedy for problem in error.value.problems] == [remedy]


@pytest.mark.parametrize(
    "written", ["0", "101", "-1", "010", "1e1", "9_0", "9.5", "0x10", "ninety", "٩٠", "9" * 30]
)
def test_a_limit_is_a_decimal_percentage(tmp_path: Path, written: str) -> None:
    [(line, key, text)] = refused(tmp_path, f"\n\nremover:\n  storage_usage_limit_percent: {written}\n")
    assert (line, key) == (4, LIMIT)
    assert text.startswith(written)


PORTS = ["127.0.0.1", "localhost", "127.0.0.1:", "127.0.0.1:0", "h:65536", "h:080", "h:٨", "::1:80", "[::1]"]
HOSTS = ["[x]:80", "[fe80::1%eth0]:80", "999.1.1.1:80", "1.2.3:80", "h h:80", "-:80", "u@h:80", "http://h:80"]


@pytest.mark.parametrize("written", [*PORTS, *HOSTS])
def test_what_is_not_an_address(tmp_path: Path, written: str) -> None:
    assert [found[:2] for found in refused(tmp_path, f'log_dir: x\nlisten_addr: "{written}"')] == [
        (2, "listen_addr")
    ]


@pytest.mark.parametrize(
    ("servers", "line"),
    [
        ("sources: [Vod-1:80]\n destinations:\n - vod-1:80", 4),
        ("sources: ['[::1]:80']\n destinations:\n - '[0::1]:80'", 4),
        ("sources:\n - 10.0.0.1:80\n - '[::ffff:10.0.0.1]:80'", 4),
        ("destinations:\n - :80", 3),
        ("destinations:\n -\n", 3),
    ],
)
def test_a_server_has_one_place_and_one_spelling(tmp_path: Path, servers: str, line: int) -> None:
    assert [found[0] for found in refused(tmp_path, f"servers:\n {servers}\n")] == [line]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a: &x 1", 1, "an anchor (`&x`)"),
        ("log_dir: x\nsource_dirs: [*x]", 2, "an alias (`*`)"),
        ("log_dir: !!python/object/apply:os.system [x]", 1, "a tag"),
        ("log_dir: ! x", 1, "a tag"),
        ("log_dir: a\nlog_level: info\nlog_dir: b", 3, "written twice, first on line 1"),
        ("---\nlog_dir: a\n---\nlog_dir: b", 3, "a second document"),
        ("log_dir: a\n? [b]\n: c", 2, "a key that is not a plain word"),
        ("log_dir: a\n\tlog_level: x", 2, "a tab where YAML allows none"),
        ("log_dir: a\nlog_level: {", 2, "not YAML"),
        ('log_dir: a\nlog_level: "\\UFFFFFFFF"', 2, "not YAML"),
        ("log_dir: a\n\nlog_level: \x1b[31m", 3, "an unprintable character (U+001B)"),
        ("- log_dir", 1, "a list or a text where settings are expected"),
        ("log_dir", 1, "a list or a text where settings are expected"),
        ("", 1, "the file has no settings"),
        ("# nothing\n", 1, "the file has no settings"),
        ('log_dir: "a\\0b"', 1, "characters that cannot be printed"),
        ('log_dir: "a\\ud800"', 1, "characters that cannot be printed"),
        ("log_dir: x\nremover:\n  - 1", 2, "not a section"),
        ("log_dir: x\nremover: 90", 2, "not a section"),
        ("ignore:\n  prefixes: {M64: x}", 2, "not a list"),
        ("log_dir:\n  x: y", 1, "a list or section where one value is expected"),
        ("ignore:\n  prefixes:\n  - A\n  -\n", 4, "an empty prefix would make an ad of every file"),
        ("state:\n  url: mysql://h/d", 2, "is not the URL of an SQLite file"),
        ("state:\n  url: 'sqlite:///:memory:'", 2, "is not the URL of an SQLite file"),
        ("state:\n  url: 'postgresql://cfm:secret@db/cfm'", 2, "a password, which everybody could read"),
        ("state:\n  url: 'postgresql://cfm@db/cfm?password=x'", 2, "a password, which everybody could read"),
        ("state:\n  url: 'postgresql://cfm@db'", 2, "does not say which database"),
        ("storage_usage_limit: 90", 1, "unknown key"),
        ("watch_ip_string: 10.0.0.(3", 1, "is not a regular expression"),
        ("<<: {log_dir: a}", 1, "unknown key"),
    ],
)
def test_refusals_of_form(tmp_path: Path, text: str, line: int, said: str) -> None:
    assert any(found[0] == line and said in found[2] for found in refused(tmp_path, text))


def test_bytes_that_are_not_text_are_found_on_their_line(tmp_path: Path) -> None:
    assert refused(tmp_path, b"log_dir: a\n# \xb1\xe2\n") == [(2, "", "not UTF-8 text")]
    assert refused(tmp_path, "log_dir: a\n".encode("utf-16"))[0][2] == "not UTF-8 text"


def test_an_alias_bomb_costs_nothing(tmp_path: Path) -> None:
    bomb = "a: &a [x]\n" + "".join(
        f"{b}: &{b} [{f'*{a},' * 9}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert refused(tmp_path, bomb)[0][2] == "an anchor (`&a`)"


@pytest.mark.parametrize("text", ["[" * 100_000, "a: " + "{b: " * 50_000, "- " * 100_000, "? " * 100_000])
def test_deep_nesting_is_refused_early(tmp_path: Path, text: str) -> None:
    assert refused(tmp_path, text)


def test_an_endless_file_is_not_read(tmp_path: Path) -> None:
    assert refused(tmp_path, b"#" * (MOST_BYTES + 1))[0][2].startswith("larger than")


def test_a_file_of_garbage_does_not_bury_the_terminal(tmp_path: Path) -> None:
    file = tmp_path / "cfm.yml"
    file.write_text("".join(f"k{number}: x\n" for number in range(1000)))
    with pytest.raises(SettingsError, match="and 800 more problems"):
        load_cfm(file)


@pytest.mark.parametrize("name", ["absent.yml", ".", "no\0such"])
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load_cfm(tmp_path / name)


def test_what_cfw_needs(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as error:
        cfw_of(tmp_path, "log_level: info\n")
    assert [line.split(": ", 1)[1] for line in str(error.value).splitlines()] == [
        "listen_addr: missing; write for example `listen_addr: 127.0.2.1:8888`",
        "cfm_addr: missing; write for example `cfm_addr: 127.0.0.1:8080`",
        "base_dir: missing; write for example `base_dir: /data`",
    ]


def test_a_success_string_that_is_no_pattern(tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match=r"cfw.yml:4: downloader_download_success_match_string: `\(` is not a"
    ):
        cfw_of(tmp_path, CFW + "downloader_download_success_match_string: (\n")


def test_refusals_cannot_forge_lines(tmp_path: Path) -> None:
    [(_, key, _)] = refused(tmp_path, '"a\\nb\\e[2J\\u202e": 1')
    assert key == "a\\nb\\x1b[2J\\u202e"


# --- whatever comes -----------------------------------------------------------------------------------

RELAXED = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
KEYS = "log_dir log_level listen_addr remover servers sources state url deletes prefixes ignore base_dir x"
SIGNS = (
    """: |:|- |[|]|{|}|,|&a|*a|!t |>|'|"|\\U|\\x|#|%YAML 1.|%TAG |---|...|? |~|\t|\r|90|h:80|\x85|\u2028"""
)
SNIPPETS = st.sampled_from([*KEYS.split(), *SIGNS.split("|"), "\n", "\n  ", "\n    ", "|"])


def settings_or_refusal(file: Path, data: bytes) -> None:
    """Loads the bytes as both files; a refusal fits on its lines, and names lines that exist."""
    file.write_bytes(data)
    lines = len(re.split(r"\r\n|[\n\r\x85\u2028\u2029]", data.decode("utf-8", "replace")))
    for load in (load_cfm, load_cfw):
        refusal = None
        try:
            load(file)
        except SettingsFileError as error:
            refusal = error
        if refusal is not None:
            assert len(str(refusal).splitlines()) == len(refusal.problems) > 0
            assert all(line.isprintable() for line in str(refusal).splitlines())
            assert all(problem.line is None or 1 <= problem.line <= lines for problem in refusal.problems)


@RELAXED
@given(data=st.binary(max_size=200))
def test_any_bytes_are_settings_or_a_refusal(tmp_path: Path, data: bytes) -> None:
    settings_or_refusal(tmp_path / "any.yml", data)


@RELAXED
@given(text=st.lists(SNIPPETS, max_size=25).map("".join))
def test_any_yaml_is_settings_or_a_refusal(tmp_path: Path, text: str) -> None:
    settings_or_refusal(tmp_path / "any.yml", text.encode())


@RELAXED
@given(cut=st.integers(0, 831), put=st.binary(max_size=3))
def test_a_damaged_old_file_is_settings_or_a_refusal(tmp_path: Path, cut: int, put: bytes) -> None:
    whole = (DATA / "cfm.yml").read_bytes()
    settings_or_refusal(tmp_path / "any.yml", whole[:cut] + put)
    settings_or_refusal(tmp_path / "any.yml", whole[:cut] + put + whole[cut + len(put) :])


@settings(RELAXED, max_examples=25)
@given(
    value=st.recursive(st.text(max_size=8) | st.integers(), lambda v: st.lists(v, max_size=3), max_leaves=4)
)
def test_a_wrong_value_names_the_line_of_its_key(tmp_path: Path, value: Any) -> None:
    """Whatever it is, the refusals are those of its line and of the line before."""
    for key in ("log_level", "deletes", "watch_hit_base", "listen_addr", "log_dir", "source_dirs"):
        file = tmp_path / "one.yml"
        file.write_text(f"# first\nlog_dir2:\n{key}: {json.dumps(value)}\n", "utf-8")
        with pytest.raises(SettingsFileError) as error:
            load_cfm(file)
        assert {problem.line for problem in error.value.problems} in ({2}, {2, 3})


def test_a_path_that_steps_up_is_the_folder_that_the_system_means(tmp_path: Path) -> None:
    """Sources are told this path, and refuse one with `..`: every copy failed."""
    (tmp_path / "disk/etc").mkdir(parents=True)
    (tmp_path / "etc").symlink_to("disk/etc")
    text = "source_dirs: [../san, ./films, ../../x/../san]\ngrade_info_file: sub/../.grade.info\n"
    linked = cfm_of(tmp_path / "etc", text)
    assert linked.source_dirs == (tmp_path / "disk/san", tmp_path / "etc/films", tmp_path / "san")
    assert linked.grade_info_file == tmp_path / "disk/etc/.grade.info"
    plain = cfw_of(tmp_path / "disk", CFW.replace("base_dir: data", "base_dir: ../data"))
    assert plain.base_dir == tmp_path / "data"
