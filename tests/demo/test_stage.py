"""The layout: settings that cfm and cfw accept, and disks as the first act wants them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cfm.config import load_cfm, load_cfw
from cfm.demo.stage import DATABASE, LIMIT_PERCENT, Options, Stage, make_stage, needed_bytes, parts, set_up
from cfm.demo.truth import Truth, look

OPTIONS = Options(files=40, sources=2, destinations=3)


def stage_in(folder: Path) -> Stage:
    stage = make_stage(OPTIONS, folder)
    set_up(stage, 1_700_000_000)
    return stage


def test_settings_are_accepted_and_agree(tmp_path: Path) -> None:
    stage = stage_in(tmp_path)
    cfm = load_cfm(stage.center / "cfm.yml")
    assert not cfm.notes
    assert cfm.servers.sources == tuple(server.addr for server in stage.sources)
    assert cfm.servers.destinations == tuple(server.addr for server in stage.destinations)
    for server in stage.servers:
        cfw = load_cfw(server.folder / "cfw.yml")
        assert (cfw.name, cfw.cfm_addr, cfw.base_dir) == (server.addr, (cfm.listen_addr,), server.disk)
        assert bool(cfw.source_dirs) == server.is_source
    assert {path.name for path in tmp_path.iterdir()} == set(parts(OPTIONS))


def test_several_cfm_have_the_same_metadata_and_state_and_workers_know_them_all(tmp_path: Path) -> None:
    options = replace(OPTIONS, controllers=2)
    stage = make_stage(options, tmp_path)
    stage.state_url = "postgresql://cfm@127.0.0.1:1/cfm"
    set_up(stage, 1_700_000_000)
    first, second = (load_cfm(center.folder / "cfm.yml") for center in stage.centers)
    assert not (*first.notes, *second.notes)
    assert (second.state.url, second.servers) == (first.state.url, first.servers)
    for path in (second.grade_info_file, second.hitcount_history_file):
        assert path.parent == stage.center
    assert (first.listen_addr, second.listen_addr) == tuple(center.addr for center in stage.centers)
    assert first.grade_info_file.exists()
    for server in stage.servers:
        addresses = (first.listen_addr, second.listen_addr)
        assert load_cfw(server.folder / "cfw.yml").cfm_addr == addresses
    assert {path.name for path in tmp_path.iterdir()} | {DATABASE} == set(parts(options))


def test_one_disk_is_too_full_and_some_files_lie_twice(tmp_path: Path) -> None:
    stage = stage_in(tmp_path)
    truth = Truth(
        quotas={server.addr: server.quota_bytes for server in stage.destinations},
        limit_percent=LIMIT_PERCENT,
        digests=stage.digests,
        sizes={},
    )
    truth.begin(look({server.addr: server.disk for server in stage.destinations}))
    assert truth.surplus_copies() >= 1
    assert truth.over_limit_servers() == 1
    assert all(disk.used_bytes <= stage.destinations[0].quota_bytes for disk in truth.disks.values())
    used = sum(disk.used_bytes for disk in truth.disks.values())
    assert stage.library.total_bytes + used < needed_bytes(stage) + 2_000_000
    assert {path.name for path in stage.san.iterdir()} == set(stage.digests)
