"""What a worker counts, for Prometheus.  Each worker has a registry of its own.

`api` and `content` count here.  The download agent's own counts are read when somebody asks.  `program`
looks at the disk regularly, and sets the disk's figures.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from cfm import __version__

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Fetched(Protocol):
    """What the download agent counts since its start."""

    done: int
    failed: int
    stopped: int
    received_bytes: int


class _FetchedCollector(Collector):
    def __init__(self, fetched: Fetched) -> None:
        self._fetched = fetched

    def collect(self) -> Iterator[Metric]:
        transfers = CounterMetricFamily(
            "cfw_transfers", "Copies to this worker, by outcome.", labels=["outcome"]
        )
        for outcome in ("done", "failed", "stopped"):
            transfers.add_metric([outcome], getattr(self._fetched, outcome))
        yield transfers
        received = self._fetched.received_bytes
        yield CounterMetricFamily("cfw_received_bytes", "Bytes of complete copies.", value=received)


class WorkerMetrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        build = self._gauge("cfw_build_info", "The program.", "version", "python")
        build.labels(__version__, platform.python_version()).set(1)
        self._content_bytes = self._counter("cfw_content_bytes", "Bytes of files sent to others.")
        self._streams_ended = self._counter(
            "cfw_streams_ended", "Streams that ended, by outcome (busy: refused).", "outcome"
        )
        self._deletes = self._counter("cfw_deletes", "Delete orders, by outcome.", "outcome")
        self.streams = self._gauge("cfw_streams", "Streams being sent now.", "kind")
        self.receiving = self._gauge("cfw_receiving", "Copies being received now.")
        self.connections = self._gauge("cfw_connections", "Open connections.")
        self.turned_away = self._gauge(
            "cfw_connections_turned_away", "Connections closed because they were too many or too slow."
        )
        self.disk_readable = self._gauge("cfw_disk_readable", "1 if base_dir is there and ours, else 0.")
        self.disk_used = self._gauge("cfw_disk_used_bytes", "Used bytes, unfinished copies included.")
        self.disk_avail = self._gauge("cfw_disk_avail_bytes", "Bytes of the disk that are still available.")
        self.disk_arriving = self._gauge("cfw_disk_arriving_bytes", "Bytes of unfinished copies.")
        self.disk_limit = self._gauge("cfw_disk_limit_ratio", "The limit of the disk, as a ratio.")
        self.odd_names = self._gauge(
            "cfw_odd_names", "Files in base_dir whose names cannot be sent, at the last list."
        )

        self.lost_lines = self._gauge(
            "cfw_log_lines_lost", "Lines of the log that were lost since the start, as nobody took them."
        )
        self.jobs_failing = self._gauge(
            "cfw_job_failing", "1 for a background job that failed and is started again.", "job"
        )
        self.settings_refused = self._gauge(
            "cfw_settings_refused", "1 if the settings were wrong when they were read again."
        )
        self.restart_needed = self._gauge(
            "cfw_restart_needed", "1 if settings were changed that are taken in at the next start only."
        )
        self.settings_read_at = self._gauge(
            "cfw_settings_read_timestamp_seconds", "When the settings were last read again; 0 for never."
        )

    def job_changed(self, job: str, why: str) -> None:
        self.jobs_failing.labels(job).set(bool(why))

    def sent(self, count: int) -> None:
        self._content_bytes.inc(count)

    def stream_ended(self, outcome: str) -> None:
        self._streams_ended.labels(outcome).inc()

    def delete_answered(self, outcome: str) -> None:
        self._deletes.labels(outcome).inc()

    def count_fetched(self, fetched: Fetched) -> None:
        """Read the download agent's counts whenever the metrics are asked for."""
        self.registry.register(_FetchedCollector(fetched))

    def page(self) -> bytes:
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)
