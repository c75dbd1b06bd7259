"""The faults: a table of their kinds, and the swarm, which says what kinds a world has and when they strike.

There are three forms.  A *request* fault strikes one request on the network.  A *chance* fault strikes where
the code of a process asks for it.  An *event* fault happens by itself from time to time.  In a calm world no
fault strikes.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from cfm_lab.sim.environment.rng import Rng


class Form(enum.Enum):
    REQUEST = "request"
    CHANCE = "chance"
    EVENT = "event"


@dataclass(frozen=True, slots=True)
class FaultKind:
    """One kind of fault.  `rate` is per million chances; for an event it is the mean minutes between two."""

    name: str
    form: Form
    rate: int
    text: str


def _requests(*rows: tuple[str, int, str]) -> list[FaultKind]:
    return [FaultKind(name, Form.REQUEST, rate, text) for name, rate, text in rows]


def _chances(*rows: tuple[str, int, str]) -> list[FaultKind]:
    return [FaultKind(name, Form.CHANCE, rate, text) for name, rate, text in rows]


def _events(*rows: tuple[str, int, str]) -> list[FaultKind]:
    return [FaultKind(name, Form.EVENT, rate, text) for name, rate, text in rows]


KINDS: Mapping[str, FaultKind] = {
    kind.name: kind
    for kind in (
        *_requests(
            ("answer_lost", 20_000, "carried out, and its answer lost"),
            ("refused", 10_000, "connection refused"),
            ("request_lost", 10_000, "a black hole swallows the request"),
            ("reset_before", 8_000, "the connection is reset before the request is read"),
            ("reset_mid_body", 8_000, "the connection is reset while the answer comes"),
            ("answer_late", 8_000, "the answer comes later than the time-out"),
            ("request_late", 8_000, "the request is carried out later than the time-out"),
            ("request_twice", 8_000, "the request arrives twice"),
            ("reordered", 20_000, "the request is overtaken by later ones"),
            ("error_500", 8_000, "the server answers 500"),
            ("garbled", 6_000, "the answer cannot be read"),
        ),
        *_chances(
            ("stream_reset", 60_000, "a transfer's connection is reset on the way"),
            ("stream_stalls", 30_000, "a transfer stalls"),
            ("one_byte_a_second", 20_000, "a source sends one byte a second"),
            ("corrupted_bytes", 40_000, "bytes change on the way"),
            ("short_body", 30_000, "the source sends less than it stated"),
            ("long_body", 20_000, "the source sends more than it stated"),
            ("half_open", 30_000, "a source goes on sending to nobody"),
            ("old_done_for_failed", 200_000, "an old worker calls a failed download done"),
            ("write_eio", 10_000, "EIO while a file is written"),
            ("fsync_eio", 15_000, "EIO at fsync"),
            ("out_of_inodes", 10_000, "no new file can be made"),
            ("unlink_eio", 30_000, "EIO at unlink"),
            ("list_eio", 4_000, "EIO while a folder is read"),
            ("delete_hangs", 30_000, "the disk hangs over an unlink"),
            ("disk_slow", 40_000, "publishing takes long"),
            ("evil_offer", 10_000, "a task names a file outside of base_dir"),
            ("df_absurd", 6_000, "a worker's disk figures make no sense"),
            ("df_dips", 6_000, "a worker tells once of a much smaller disk"),
            ("list_phantoms", 6_000, "a worker lists files that are not there"),
            ("plan_slow", 120_000, "a plan takes minutes"),
            ("worker_state_full", 30_000, "a worker cannot write its state"),
            ("commit_slow", 5_000, "a commit takes seconds"),
            ("log_torn", 300_000, "lines of the event log are torn, garbled or too long"),
            ("log_doubled", 300_000, "every line of the event log comes twice"),
            ("log_clock_behind", 300_000, "the event log's clock is hours behind"),
            ("san_slow", 20_000, "the SAN does not answer for a file in time"),
        ),
        *_events(
            ("cfm_killed", 70, "kill -9 of cfm, and a start"),
            ("cfm_stopped", 90, "SIGSTOP of cfm, SIGCONT later"),
            ("cfm_second", 200, "a second cfm on the same state"),
            ("cfm_superseded", 180, "a new cfm takes the state over while the old one is stopped"),
            ("cfm_rival", 180, "a cfm with other state gives orders to the same workers"),
            ("cfm_state_full", 120, "the disk under cfm's state is full"),
            ("cfm_descriptors", 150, "cfm is out of file descriptors"),
            ("worker_killed", 30, "kill -9 of a worker, and a start"),
            ("worker_restarts_soft", 60, "a worker is stopped cleanly and started"),
            ("worker_stopped", 60, "SIGSTOP of a worker, SIGCONT later"),
            ("power_cut", 60, "a power cut of a worker's machine"),
            ("old_disk", 240, "a worker returns with the disk of an hour ago"),
            ("machine_gone", 120, "a machine is gone for long"),
            ("cpu_full", 60, "a machine answers slowly for a while"),
            ("partition", 60, "cfm and a worker are cut off from each other"),
            ("one_way", 60, "what one machine sends does not arrive"),
            ("partial_partition", 60, "two workers are cut off from each other"),
            (
                "copy_cut_off",
                25,
                "both ends of a copy are cut off from cfm, and somebody copies the file by hand",
            ),
            ("rolling_partition", 120, "servers are cut off one by one and rejoined in another order"),
            ("disk_full", 90, "other software fills a disk"),
            (
                "df_stands_still",
                120,
                "a worker tells the same disk usage for a while",
            ),
            ("read_only", 150, "a disk becomes read-only"),
            ("unmounted", 90, "base_dir is unmounted"),
            ("unmounted_old", 120, "an old worker's base_dir is unmounted: an empty list"),
            ("disk_hung", 90, "a disk hangs"),
            ("bit_rot", 90, "a stored file rots"),
            ("foreign_copies", 20, "other software copies files between disks"),
            ("foreign_removal", 20, "other software removes files"),
            ("link_planted", 120, "a file is replaced by a link"),
            ("wall_jump_day", 120, "a wall clock jumps by a day"),
            ("wall_jump_back", 120, "a wall clock jumps back"),
            ("metadata_half_written", 60, "a metadata file is cut at some byte"),
            ("metadata_emptied", 120, "a metadata file is emptied"),
            ("metadata_missing", 120, "a metadata file is missing"),
            ("metadata_old_back", 120, "an older metadata file is put back"),
            ("metadata_mismatched", 120, "a new grade file with a history of other files"),
            ("metadata_garbage", 90, "garbage, NUL, a 70 kB line, doubled names and ips in the metadata"),
            ("metadata_stale", 120, "nobody writes metadata for long"),
            ("ranks_turned", 90, "all ranks change at once"),
            ("log_missing", 90, "the event log is rotated away for a while"),
            ("log_gone", 300, "there is no event log, for minutes to hours"),
            ("log_unreadable", 300, "the event log cannot be read, for minutes to hours"),
            ("log_burst", 60, "many files rise at once"),
            ("san_unmounted", 90, "the source folder is unmounted"),
            ("san_file_gone", 60, "a file vanishes from the SAN"),
            ("san_file_empty", 90, "a file on the SAN has 0 bytes"),
            ("san_file_resized", 90, "a file on the SAN has another size"),
            ("limit_mistyped", 120, "the limit is set far too low, and corrected later"),
            ("prefix_added", 120, "another prefix marks ads for a while"),
            ("deletes_off", 180, "deletes are switched off for a while"),
            ("server_removed", 200, "a server is taken out of the settings, and put back"),
            ("addresses_swapped", 240, "two workers swap their addresses"),
            ("operator_cancels", 120, "an operator cancels a task"),
            ("operator_confirms", 45, "an operator lets the breakers go"),
            ("san_file_rewritten", 45, "a file on the SAN is another one of the same size"),
            ("san_file_being_written", 45, "somebody writes a file of the SAN anew, for seconds or an hour"),
            ("san_file_of_the_future", 120, "a file on the SAN was written in the future, by its mtime"),
            ("restart_with_less", 150, "a grade file with few lines is there when cfm starts again"),
        ),
    )
}


@dataclass
class Swarm:
    """The faults that one world has."""

    enabled: frozenset[str]
    rng: Rng
    intensity_percent: int = 100

    def __post_init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.calm = False
        self._rates = {
            name: KINDS[name].rate * self.intensity_percent // 100
            for name in KINDS
            if name in self.enabled and KINDS[name].form is Form.CHANCE
        }
        self._requests = [
            (name, KINDS[name].rate * self.intensity_percent // 100)
            for name in KINDS
            if name in self.enabled and KINDS[name].form is Form.REQUEST
        ]
        self._requests_total = sum(rate for _name, rate in self._requests)

    def strikes(self, name: str) -> bool:
        """Does this chance fault happen here and now?"""
        rate = self._rates.get(name)
        if rate is None or self.calm or not self.rng.chance(rate):
            return False
        self.counts[name] += 1
        return True

    def fate(self, drawn: int) -> str:
        """The fault that strikes one request, by a number drawn below a million; empty where none does."""
        if self.calm or drawn >= self._requests_total:
            return ""
        for name, rate in self._requests:
            if drawn < rate:
                self.counts[name] += 1
                return name
            drawn -= rate
        return ""

    def events(self) -> list[FaultKind]:
        return [kind for name, kind in KINDS.items() if name in self.enabled and kind.form is Form.EVENT]


def draw(rng: Rng) -> frozenset[str]:
    """A random subset of the faults: sometimes none, sometimes all, mostly some."""
    share = rng.pick((0, 150_000, 350_000, 350_000, 600_000, 1_000_000))
    chosen = [name for name in KINDS if rng.chance(share)]
    if share and rng.chance(600_000):
        chosen.append("answer_lost")
    return frozenset(chosen)
