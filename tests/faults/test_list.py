"""The list of faults that are tried on real processes, and where; held to the tests that there are.

Each ends with the same look at the ground truth (`Story.settle`, or the rest of `Kills`).
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

HERE = Path(__file__).parent
FAULTS: Final[Mapping[str, tuple[str, ...]]] = {
    # processes
    "kill -9 of cfm": (
        "test_processes.py test_killed_in_the_middle_of_copies",
        "test_processes.py test_cfm_killed_in_the_middle_of_deletes",
        "test_daemons.py test_transfers_go_on_while_cfm_is_killed_and_started_again",
        "test_kills.py test_killed_again_and_again_under_load",
    ),
    "kill -9 of a cfw in the middle of a download": (
        "test_processes.py test_killed_in_the_middle_of_copies",
        "test_daemons.py test_a_killed_worker_frees_its_source_and_comes_back_clean",
        "test_kills.py test_killed_again_and_again_under_load",
    ),
    "SIGSTOP, then SIGCONT": (
        "test_processes.py test_stopped_and_continued",
        "test_daemons.py test_a_frozen_worker_is_given_up_and_told_so_when_it_thaws",
    ),
    "an old cfw restarted within a heartbeat": (
        "test_old_programs.py test_an_old_worker_that_is_restarted_within_a_heartbeat_holds_nobody_up",
    ),
    "an old cfw still copies when cfm takes over": (
        "test_handover.py test_a_copy_that_an_old_worker_still_runs_is_taken_over",
    ),
    # what stays broken
    "a source without its mount, beside a healthy one": (
        "test_lasting.py test_a_source_without_its_mount_leaves_the_work_to_the_other",
    ),
    "a worker that never asks for work": (
        "test_lasting.py test_a_worker_that_never_asks_for_work_does_not_hold_the_only_source",
    ),
    "sizes on the SAN that are not those of the history": (
        "test_full_disks.py test_a_disk_over_its_limit_is_back_at_once_whatever_sizes_its_worst_files_have",
    ),
    "files that fit nowhere": (
        "test_full_disks.py test_ten_small_files_are_placed_behind_twenty_for_which_no_disk_can_make_room",
    ),
    "a destination whose disk is the SAN": ("test_source_disks.py test_no_original_is_deleted",),
    # more than one cfm
    "a zombie leader": ("test_controllers.py test_a_zombie_is_not_obeyed",),
    "two cfm on one state": ("test_controllers.py test_a_second_cfm_on_the_same_state_says_so_and_ends",),
    "two cfm on one port": ("test_controllers.py test_a_second_cfm_on_the_same_port_says_so_and_ends",),
    "another cfm with the same workers": (
        "test_controllers.py test_orders_of_a_cfm_with_another_state_are_refused",
    ),
    "out of file descriptors": ("test_processes.py test_out_of_file_descriptors",),
    "a restart with an old disk": ("test_processes.py test_restarted_with_an_old_disk",),
    # network; rows of one table
    "RST in the middle of a body": (
        "test_network.py content reset",
        "test_network.py list reset in the middle",
    ),
    "early FIN": ("test_network.py content ends early", "test_network.py list ends early"),
    "short Content-Length": (
        "test_network.py content with a short Content-Length",
        "test_network.py list with a Content-Length of its first two lines",
    ),
    "answer lost after the order was carried out": (
        "test_network.py answer to a delete lost",
        "test_network.py answers to three deletes lost",
        "test_network.py answer to done lost",
    ),
    "answer later than the time-out": (
        "test_network.py answer to a delete comes too late",
        "test_network.py confirmation too late",
        "test_network.py done arrives late",
    ),
    "order later than the time-out": ("test_network.py delete arrives late",),
    "requests repeated": ("test_network.py delete arrives twice", "test_network.py reports arrive twice"),
    "one byte a second": (
        "test_network.py list at a byte a second",
        "test_network.py questions at a byte a second",
        "test_network.py content at a byte a second",
    ),
    "corrupted bytes": ("test_network.py content corrupted", "test_network.py disk usage is no JSON"),
    "refused": ("test_network.py test_connections_refused",),
    "black hole, one way": ("test_network.py test_nothing_passes_for_a_while",),
    "half open": ("test_network.py test_half_open_connections",),
    "delay": ("test_network.py test_everything_takes_a_third_of_a_second",),
    "servers cut off one by one": ("test_network.py test_cut_off_one_by_one_and_rejoined_in_another_order",),
    # disks
    "ENOSPC": ("test_disks.py test_a_disk_fills_while_files_arrive",),
    "out of inodes": ("test_disks.py test_a_disk_has_no_inodes_left",),
    "other data fills a disk": ("test_disks.py test_other_data_that_fills_a_disk_costs_no_known_file",),
    "unfinished downloads on another file system": (
        "test_disks.py test_unfinished_downloads_are_on_another_file_system",
    ),
    "EIO on fsync": ("test_disks.py test_nothing_is_done_that_is_not_durable",),
    "read-only": ("test_disks.py test_a_disk_turns_read_only",),
    "unmounted": ("test_disks.py test_a_disk_is_unmounted_and_the_folder_below_is_empty",),
    "power cut": ("test_power.py test_what_was_reported_done_survives_a_power_cut",),
    "copies cut to nothing": ("test_disks.py test_copies_on_a_disk_are_cut_to_nothing",),
    "cfm's own disk full": (
        "test_disks.py test_cfm_has_no_room_for_its_state",
        "test_disks.py test_cfm_cannot_make_its_state_durable",
    ),
    "a worker's own disk full": ("test_disks.py test_a_worker_cannot_write_its_own_state",),
    "a full disk under the log": ("test_disks.py test_the_disk_of_the_log_is_full",),
    "a source folder unmounted": ("test_disks.py test_a_source_folder_is_unmounted",),
    "SAN files of 0 bytes": ("test_disks.py test_files_of_the_san_are_cut_to_nothing",),
    # time, metadata
    "wall clock a day off": (
        "test_clock.py test_a_clock_jumps_by_a_day",
        "test_clock.py test_cfm_wakes_up_on_another_day",
    ),
    "metadata half written, cut, emptied, gone": ("test_metadata.py test_what_is_spoiled_decides_nothing",),
    "older metadata put back": ("test_metadata.py test_an_older_pair_is_put_back",),
    "the event log torn, rotated, cut, future-dated": (
        "test_event_log.py test_hits_are_counted_after_every_trouble",
    ),
    "the event log with holes and late blocks": (
        "test_event_log.py cut beside its writer",
        "test_event_log.py a block that comes late",
    ),
    "the event log twice": ("test_event_log.py test_hits_that_come_twice_count_once",),
    "the event log gone": ("test_event_log.py test_a_log_that_is_gone_is_told_and_so_is_its_return",),
}


def tried(file: str) -> set[str]:
    """Names of tests, and of the rows of their tables."""
    nodes = list(ast.walk(ast.parse((HERE / file).read_text())))
    tests = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    return tests | {str(node.value) for node in nodes if isinstance(node, ast.Constant)}


@pytest.mark.quick
@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_tried(fault: str) -> None:
    for place in FAULTS[fault]:
        file, _, name = place.partition(" ")
        assert name in tried(file), place
