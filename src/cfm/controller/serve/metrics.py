"""What Prometheus scrapes from cfm.  The numbers are read from the core when Prometheus asks.

Refusals are those of the last round, as in the status and the plan.  Neighbours: `json_api` serves these at
`/metrics`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from cfm.controller.act.lease_keeper import LeaseKeeper
from cfm.controller.act.loop import Controller, clock
from cfm.controller.decide.core import Core
from cfm.controller.explain.activity import unplaced_files
from cfm.controller.explain.pending import pending
from cfm.controller.serve.families import counted, gauge, labelled
from cfm.controller.serve.health_metrics import health_metrics, own_metrics
from cfm.inputs.lines import Skip
from cfm.inputs.log_follower import LogFollower
from cfm.loop_holds import BOUNDS_S, HOLDS, LoopHolds
from cfm.model import Known, LogCondition, LogState, Now, OrderStatus
from cfm.plan.ledger import Ledger


class ControllerMetrics(Collector):
    """All metrics of one controller."""

    content_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(
        self,
        controller: Controller,
        follower: LogFollower | None,
        clock: Callable[[], Now] = clock,
        keeper: LeaseKeeper | None = None,
    ) -> None:
        """`keeper`: who keeps the lease of one of several cfm."""
        self._controller = controller
        self._clock = clock
        self._keeper = keeper
        self._follower = follower
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def expose(self) -> bytes:
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        core, now = self._controller.core, self._clock()
        yield from _deeds(core, now)
        yield from _backlog(core, now)
        yield from _servers(core, now)
        yield from _metadata(core, now)
        yield from health_metrics(core, now)
        yield from own_metrics(self._controller)
        yield _loop_holds(HOLDS)
        if self._keeper is not None:
            yield from _leadership(self._keeper, now)
        if core.state.log is not None:
            yield from _event_log(core.state.log, now)
        yield gauge(
            "cfm_store_waiting",
            "Changes that wait to be written to the state.",
            self._controller.writer.waiting,
        )
        yield gauge(
            "cfm_rising_lookup_lag_seconds",
            "For how long names that rise have not been looked up in the metadata.",
            self._controller.rising.behind_s,
        )
        if self._follower is not None:
            status = self._follower.status()
            if status.lag_s is not None:
                text = "Age of the newest event in the log, by the time that it bears."
                yield gauge("cfm_event_log_lag_seconds", text, status.lag_s)
            yield gauge(
                "cfm_event_log_behind_bytes",
                "Bytes of the event log that are not read yet.",
                status.behind_bytes,
            )
            yield labelled(
                "cfm_event_log_skipped_lines", "Event-log lines that were skipped.", "reason", status.skipped
            )


def _leadership(keeper: LeaseKeeper, now: Now) -> Iterable[Metric]:
    leader = keeper.leadership
    yield gauge("cfm_leads", "1 where this one of several cfm leads.", int(leader.may_act(now.mono_ms)))
    yield gauge("cfm_epoch", "The epoch of whoever leads.", leader.epoch or leader.told_epoch)
    left_s = leader.left_ms(now.mono_ms) / 1000
    yield gauge("cfm_acts_for_seconds", "For how long it leads if the database answers no more.", left_s)
    yield gauge("cfm_others", "Other cfm of this node that were heard of lately.", len(keeper.followers))
    took_s = keeper.answer_ms / 1000
    yield gauge("cfm_database_seconds", "How long the database took to answer last.", took_s)


def _loop_holds(holds: LoopHolds) -> Metric:
    text = "For how long the event loop was held: nobody got an answer meanwhile."
    family = HistogramMetricFamily("cfm_loop_hold_seconds", text)
    bounds = [*map(str, BOUNDS_S), "+Inf"]
    family.add_metric([], list(zip(bounds, accumulate(holds.counts), strict=True)), holds.total_s)
    return family


def _event_log(log: LogState, now: Now) -> Iterable[Metric]:
    conditions = {one.value: int(one is log.condition) for one in LogCondition}
    text = "1 for the condition that the event log is in."
    yield labelled("cfm_event_log_condition", text, "condition", conditions)
    yield gauge("cfm_event_log_hits_known", "1 where the event log can be read.", int(log.hits_known))
    yield gauge(
        "cfm_event_log_clock_behind_seconds",
        "How far the clock of the event log is behind ours.",
        log.clock_behind_s,
    )
    if log.heard_ms is not None:
        quiet_s = (now.mono_ms - log.heard_ms) / 1000
        yield gauge("cfm_event_log_quiet_seconds", "Time since the last line of the event log.", quiet_s)


def _deeds(core: Core, now: Now) -> Iterable[Metric]:
    counts = core.state.counts
    outcomes = {
        "done": counts["copied_files"],
        "failed": counts["tasks_failed"],
        "timed_out": counts["tasks_timed_out"],
        "cancelled": counts["tasks_cancelled"],
    }
    yield counted("cfm_transfers", "Copies that ended.", "outcome", outcomes)
    yield CounterMetricFamily("cfm_transferred_bytes", "Bytes copied.", value=counts["copied_bytes"])
    deletes = {kind: counts[f"deleted_{kind}"] for kind in ("surplus", "space")}
    yield counted("cfm_deletes", "Files deleted.", "kind", deletes)
    yield CounterMetricFamily("cfm_deleted_bytes", "Bytes deleted.", value=counts["deleted_bytes"])
    busy = {addr: ms / 1000 for addr, ms in core.state.source_busy_ms(now).items()}
    yield counted("cfm_source_busy_seconds", "Time during which a source was sending.", "server", busy)
    by_server = CounterMetricFamily(
        "cfm_server_transfers",
        "Copies that ended, by server and its role in them.",
        labels=["server", "role", "outcome"],
    )
    for key, number in core.state.server_counts.items():
        by_server.add_metric([*key], number)
    yield by_server
    yield CounterMetricFamily("cfm_plans", "Full plans made.", value=counts["plans"])
    yield CounterMetricFamily("cfm_plan_seconds", "Time spent in full plans.", value=counts["plan_ms"] / 1000)


def _backlog(core: Core, now: Now) -> Iterable[Metric]:
    yield gauge("cfm_backlog_files", "Wanted files that are on no destination.", unplaced_files(core))
    view = core.state.view(now)
    to_come = pending(core, view, Ledger(view))
    yield gauge("cfm_backlog_bytes", "What is left to copy of the files that have space.", to_come.size_bytes)
    yield gauge("cfm_surplus_files", "Files with more than one copy.", core.shortlist.surplus_total)
    yield gauge("cfm_rising_files", "Files that viewers want now.", len(core.state.hits.rising))
    yield gauge("cfm_tasks", "Copies that have not ended.", len(core.state.tasks.active))
    unknown = [o for o in core.state.orders.active.values() if o.status is OrderStatus.UNKNOWN]
    yield gauge("cfm_unknown_deletes", "Deletes with an unknown outcome.", len(unknown))
    yield from _failures(core)
    refusals = GaugeMetricFamily(
        "cfm_refusals", "Refusals in the last round by reason.", labels=["action", "reason"]
    )
    for (action, reason), number in core.last_round.counts.items() if core.last_round else ():
        refusals.add_metric([action, reason], number)
    yield refusals
    by_number = {str(number): files for number, files in core.shortlist.files_by_copies.items()}
    stale = sum(map(len, core.state.versions.stale.values()))
    yield gauge("cfm_stale_copies", "Copies that are older than their files on the SAN.", stale)
    yield labelled(
        "cfm_files_by_copies", "Known files by their number of copies, by the last plan.", "copies", by_number
    )


def _failures(core: Core) -> Iterable[Metric]:
    failures = core.state.failures
    in_pause = GaugeMetricFamily(
        "cfm_failing_copies",
        "Failures in a row where a source, a destination or the pair of both is to blame.",
        labels=["source", "destination"],
    )
    for side, pause in failures.pauses.items():
        in_pause.add_metric([side.source, side.destination], pause.failures)
    yield in_pause
    failing = sum(retry.failures > 1 for retry in failures.retries.values())
    yield gauge("cfm_failing_files", "Files whose copies failed at several places.", failing)


def _servers(core: Core, now: Now) -> Iterable[Metric]:
    view = core.state.view(now)
    up = {addr: int(server.up) for addr, server in view.servers.items()}
    yield labelled("cfm_server_up", "1 if the server answers.", "server", up)
    unknown = [s for s in view.destinations if not s.usable]
    yield gauge("cfm_unknown_servers", "Destinations whose list or disk is not known.", len(unknown))
    disks = {s.addr: s.disk.value for s in view.servers.values() if isinstance(s.disk, Known)}
    used = {addr: disk.used_bytes for addr, disk in disks.items()}
    yield labelled("cfm_disk_used_bytes", "Disk used.", "server", used)
    totals = {addr: disk.total_bytes for addr, disk in disks.items()}
    yield labelled("cfm_disk_size_bytes", "Disk size.", "server", totals)
    limits = {s.addr: s.limit_percent / 100 for s in view.destinations}
    yield labelled("cfm_disk_limit_ratio", "The limit in force.", "server", limits)
    ledger = Ledger(view)
    streams = {s.addr: ledger.load(s.addr).outgoing for s in view.sources}
    yield labelled("cfm_source_streams", "Copies that a source sends.", "server", streams)


def _metadata(core: Core, now: Now) -> Iterable[Metric]:
    facts = core.state.snapshot
    yield gauge("cfm_metadata_accepted", "1 if cfm has valid metadata.", int(facts is not None))
    if facts is not None:
        age_s = core.state.metadata.age_ms(now) / 1000
        yield gauge("cfm_metadata_age_seconds", "Age of the metadata in use.", age_s)
        yield gauge("cfm_graded_files", "Files in the grade file.", facts.graded_files)
        yield gauge("cfm_known_files", "Graded files with a size.", facts.known_files)
    text = "Lines of the metadata in use that were skipped, by file and reason."
    none_yet = {f"{file}_{reason}": 0 for file in ("grade", "history") for reason in Skip}
    skipped = {**none_yet, **(facts.skipped_lines if facts is not None else {})}
    yield labelled("cfm_skipped_lines", text, "reason", skipped)
