"""What the earlier programs took: the same meaning here, and the operator is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from cfm.config import CfmSettings, SettingsFileError, load_cfm, load_cfw
from cfm.controller.act.from_settings import node_of

CFW = "listen_addr: 127.0.2.1:8888\ncfm_addr: 127.0.0.1:8080\nbase_dir: data\n"


def cfm_of(folder: Path, text: str) -> CfmSettings:
    file = folder / "cfm.yml"
    file.write_text(text)
    return load_cfm(file)


def notes(settings: CfmSettings) -> list[str]:
    """The notes without the name of the file."""
    return [note.partition("cfm.yml:")[2] for note in settings.notes]


# --- the form


@pytest.mark.parametrize(
    ("written", "found"),
    [("10.0.0.1:80", ["10.0.0.1:80"]), ("10.0.0.1:80, 10.0.0.2:80", ["10.0.0.1:80", "10.0.0.2:80"])],
)
def test_one_value_where_a_list_is_meant(tmp_path: Path, written: str, found: list[str]) -> None:
    settings = cfm_of(tmp_path, f"servers:\n  sources: {written}\n")
    assert list(settings.servers.sources) == found
    assert notes(settings) == [
        f"2: servers.sources is taken as a list of {len(found)}: write each value on a line of its own"
    ]


def test_a_value_of_such_a_list_is_checked_like_any_other(tmp_path: Path) -> None:
    with pytest.raises(SettingsFileError) as error:
        cfm_of(tmp_path, "log_dir: x\nservers:\n  sources: 10.0.0.1:80, nonsense\n")
    assert [(problem.line, problem.key) for problem in error.value.problems] == [(3, "servers.sources")]


@pytest.mark.parametrize(("written", "taken"), [("5.0", 5), ("90.00", 90)])
def test_a_whole_number_with_a_fraction_of_zero(tmp_path: Path, written: str, taken: int) -> None:
    settings = cfm_of(tmp_path, f"watch_hit_base: {written}\n")
    assert settings.watch_hit_base == taken
    assert notes(settings) == [f"1: watch_hit_base: {written} is taken as {taken}"]


@pytest.mark.parametrize("written", ["5.5", "5.", ".0", "5,0", "0x5", "5e0"])
def test_no_other_number_is_guessed(tmp_path: Path, written: str) -> None:
    with pytest.raises(SettingsFileError):
        cfm_of(tmp_path, f"watch_hit_base: {written}\n")


def test_a_server_that_is_listed_twice_counts_once(tmp_path: Path) -> None:
    text = "servers:\n  destinations:\n  - 10.0.0.1:80\n  - 10.0.0.2:80\n  - 10.0.0.1:80\n  - 10.0.0.3:80\n"
    settings = cfm_of(tmp_path, text)
    assert settings.servers.destinations == ("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80")
    assert notes(settings) == ["5: servers.destinations: 10.0.0.1:80 counts once; it is on line 3 already"]


def test_upper_and_lower_case_of_keys_do_not_differ(tmp_path: Path) -> None:
    settings = cfm_of(tmp_path, "Watch_Hit_Base: 7\nServers:\n  Sources: [10.0.0.1:80]\n")
    assert (settings.watch_hit_base, settings.servers.sources) == (7, ("10.0.0.1:80",))
    assert notes(settings) == [
        "1: Watch_Hit_Base is taken as watch_hit_base",
        "2: Servers is taken as servers",
        "3: Sources is taken as sources",
    ]


def test_the_same_key_in_two_cases_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsFileError, match="Log_Dir"):
        cfm_of(tmp_path, "log_dir: a\nLog_Dir: b\n")


# --- keys of long ago


def test_the_ads_of_the_first_version_stay_ads(tmp_path: Path) -> None:
    settings = cfm_of(tmp_path, "log_dir: x\nadv_prefixes:\n- M64\n- MN1\n")
    assert settings.ignore.prefixes == ("M64", "MN1")
    assert notes(settings) == ["2: adv_prefixes is taken as ignore.prefixes"]


@pytest.mark.parametrize("key", ["storage_usage_limit_percent", "task_timeout_sec", "task_copy_speed_bps"])
def test_a_key_that_no_later_version_read_has_no_effect(tmp_path: Path, key: str) -> None:
    settings = cfm_of(tmp_path, f"log_dir: x\n{key}: 17\n")
    assert settings.remover.storage_usage_limit_percent == 90
    assert settings.tasker.task_timeout_sec == 3600
    [note] = notes(settings)
    assert note.startswith(f"2: {key} is without effect: its name is ")


def test_new_names_win(tmp_path: Path) -> None:
    settings = cfm_of(tmp_path, "adv_prefixes: [OLD]\nignore:\n  prefixes: [NEW]\n")
    assert settings.ignore.prefixes == ("NEW",)
    assert notes(settings) == ["1: adv_prefixes is without effect: its name is ignore.prefixes"]


def test_the_interface_of_the_first_cfw_has_no_effect(tmp_path: Path) -> None:
    file = tmp_path / "cfw.yml"
    file.write_text(f"{CFW}if_name: eth0\n")
    [note] = load_cfw(file).notes
    assert "if_name is without effect" in note


# --- the meaning

WITHOUT = "{eventRuns: [makeFMM, runTasker], eventTimeoutRuns: [runTasker], betweenEventsRuns: [runTasker]}"


@pytest.mark.parametrize(
    ("runs", "deletes"),
    [
        (WITHOUT, False),
        ("[makeFMM, makeRisingHit, runTasker]", False),
        ("{eventRuns: [runTasker]}", True),  # the other lists have the remover where they are not named
        (WITHOUT.replace("runTasker]}", "runTasker, RUNREMOVER]}"), True),
        (WITHOUT.replace("}", ", periodicRuns: [runRemover]}"), False),  # without an interval they do not run
        (WITHOUT.replace("}", ", periodicRuns: [runRemover]}\n  periodic_run_interval_sec: 60"), True),
        ("[runRemover, runTasker]", True),
        ("{eventRuns: [], eventTimeoutRuns: , betweenEventsRuns: []}", True),
    ],
)
def test_runs_without_the_remover_switch_deletes_off_and_say_so(
    tmp_path: Path, runs: str, deletes: bool
) -> None:
    settings = cfm_of(tmp_path, f"runner:\n  setup_runs: {runs}\n")
    assert settings.deletes == deletes
    assert any("DELETES ARE OFF" in note for note in settings.notes) == (not deletes)


@pytest.mark.parametrize("written", ["on", "off"])
def test_a_switch_that_is_written_holds(tmp_path: Path, written: str) -> None:
    settings = cfm_of(tmp_path, f"deletes: {written}\nrunner:\n  setup_runs: {WITHOUT}\n")
    assert settings.deletes == (written == "on")
    assert any("names no remover" in note for note in settings.notes)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("125.159.40.3", ""),
        ("vod-san.example", ""),
        (r"125\.159\.40\.3", "is taken as the server 125.159.40.3"),
        ("125.159.40.", "is taken as a regular expression"),
        (r"125\.159\.40\.(3|4)", "is taken as a regular expression"),
        ("'Server 125.159.40.3 Selected'", "is taken as a regular expression"),
    ],
)
def test_the_watched_server_may_be_a_regular_expression(tmp_path: Path, written: str, said: str) -> None:
    settings = cfm_of(tmp_path, f"watch_ip_string: {written}\n")
    assert settings.watch_ip_string == written.strip("'")
    assert [said in note for note in settings.notes] == ([True] if said else [])


def test_hits_that_are_not_set_are_told(tmp_path: Path) -> None:
    watching = "watch_dir: x\nwatch_ip_string: 10.0.0.1\n"
    settings = cfm_of(tmp_path, watching)
    assert settings.watch_hit_base == 5
    [note] = notes(settings)
    assert "the earlier cfm took 3" in note
    assert not cfm_of(tmp_path, watching + "watch_hit_base: 5\n").notes


@pytest.mark.parametrize(
    ("between", "periodic", "look_s"), [(60, 0, 60), (60, 20, 20), (20, 60, 20), (0, 0, 1)]
)
def test_both_intervals_set_the_longest_time_between_two_looks(
    tmp_path: Path, between: int, periodic: int, look_s: int
) -> None:
    text = f"between_events_run_interval_sec: {between}\n  periodic_run_interval_sec: {periodic}"
    assert node_of(cfm_of(tmp_path, f"runner:\n  {text}\n")).full_look_ms == 1000 * look_s
