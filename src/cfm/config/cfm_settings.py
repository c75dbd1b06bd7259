"""The settings of cfm: a model of `cfm.yml`.  `docs/settings.md` says what each key means."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from cfm.config.fields import (
    MOST_64_BITS,
    Address,
    BitsPerSecond,
    Count,
    FilePath,
    HostName,
    Interval,
    LogLevel,
    Minutes,
    PeerAddress,
    Percent,
    Prefix,
    Seconds,
    SecondsOrNone,
    SharedStateUrl,
    Streams,
    Switch,
    WatchedServer,
    is_postgres,
    path_of_state,
    whole,
)
from cfm.config.sections import Section, SettingsFile, without_effect
from cfm.config.security import SecuritySettings
from cfm.model import Addr

AT_ONCE = "what is due is done at once"


class IgnoreSettings(Section):
    """Files that belong to other software: cfm never copies or deletes them."""

    prefixes: tuple[Prefix, ...] = Field((), examples=["M64"])


class RemoverSettings(Section):
    """When files are deleted, and what holds deletes back."""

    storage_usage_limit_percent: Percent = 90
    minimum_stay_sec: SecondsOrNone = 3600
    metadata_max_age_sec: Seconds = 172800
    space_deletes_per_minute: Count = 30
    trims_per_minute: Count = 300
    breaker_percent: Percent = 25
    # At most a minute: a copy that was confirmed longer ago may be gone by now.
    confirmation_max_age_sec: Annotated[int, whole("a number of seconds", 1, 60)] = 10
    room_margin_percent: Annotated[int, whole("a percentage", 0, 100)] = 10
    just_deleted_sec: SecondsOrNone = 86400
    remover_sleep_sec: Any = without_effect(AT_ONCE)


class TaskerSettings(Section):
    """How copies are made."""

    task_timeout_sec: Seconds = 3600
    task_copy_speed_bps: BitsPerSecond = 10_000_000
    streams_per_source: Streams = 1
    incoming_per_destination: Streams = 1
    # The lease must be longer than a restart of cfm takes.  Otherwise workers end the copies that run.
    lease_sec: Annotated[int, whole("a number of seconds", 10, 3600)] = 60
    # At most a minute: a file is looked at again after this time, before it is copied.
    san_rest_sec: Annotated[int, whole("a number of seconds", 0, 60)] = 5
    san_look_sec: Seconds = 600
    tasker_sleep_sec: Any = without_effect(AT_ONCE)


class WatcherSettings(Section):
    """How the metadata files are watched."""

    event_timeout_sec: Interval = 3600
    poll_interval_sec: Interval = 60
    fire_initial_event: Any = without_effect("the files are always read at the start")


class RunnerSettings(Section):
    """How often cfm looks at all servers, even if nothing has happened."""

    between_events_run_interval_sec: Interval = 60
    periodic_run_interval_sec: SecondsOrNone = 0
    setup_runs: Any = without_effect("every start begins with a full look")


class ServersSettings(Section):
    """The servers of the node, and how long cfm waits for them."""

    sources: tuple[PeerAddress, ...] = Field((), examples=["127.0.1.1:8888"])
    destinations: tuple[PeerAddress, ...] = Field((), examples=["127.0.2.1:8888"])
    hosts: tuple[HostName, ...] = Field((), examples=["vod-center"])
    heartbeat_timeout_sec: Seconds = 5
    heartbeat_interval_sec: Interval = 30
    heartbeat_misses: Annotated[int, whole("a number", 1, 100)] = 2
    request_timeout_sec: Seconds = 5
    list_timeout_sec: Seconds = 30
    unknown_grace_sec: SecondsOrNone = 3600
    heartbeat_sleep_sec: Any = without_effect("its name is heartbeat_interval_sec")

    @property
    def addresses(self) -> tuple[Addr, ...]:
        """Each server once; the sources come first."""
        return tuple(dict.fromkeys(self.sources + self.destinations))


class CfmStateSettings(Section):
    """Where cfm keeps tasks, delete orders, its history and its own id."""

    url: SharedStateUrl = Field("sqlite:///cfm.db")
    # Of several cfm: how long the right to lead lasts.  A renewal that fails once must not cost it.
    lease_sec: Annotated[int, whole("a number of seconds", 3, 60)] = 3
    history_days: Annotated[int, whole("a number of days", 1, 3660)] = 30
    history_bytes: Annotated[int, whole("a number of bytes", 1_000_000, MOST_64_BITS)] = 256_000_000

    @property
    def is_shared(self) -> bool:
        """Is it in PostgreSQL, where several cfm may use it?"""
        return is_postgres(self.url)

    @property
    def path(self) -> Path:
        """The SQLite file.  There is none where the state is shared."""
        assert not self.is_shared
        return path_of_state(self.url)


class CfmSettings(SettingsFile):
    """All of `cfm.yml`.  Every path is absolute."""

    listen_addr: Address = Addr("127.0.0.1:8080")
    advertise_addr: PeerAddress | None = Field(None, examples=["10.0.0.5:8080"])
    log_dir: FilePath = Path("log")
    log_level: LogLevel = "info"
    deletes: Switch = True
    grade_info_file: FilePath = Path(".grade.info")
    hitcount_history_file: FilePath = Path(".hitcount.history")
    watch_dir: FilePath | None = Field(None, examples=["/var/log/lb"])
    watch_ip_string: WatchedServer | None = Field(None, examples=["125.159.40.3"])
    watch_hit_base: Count = 5
    watch_term_min: Minutes = 10
    source_dirs: tuple[FilePath, ...] = Field((), examples=["/data2"])
    ignore: IgnoreSettings = Field(default_factory=IgnoreSettings)
    remover: RemoverSettings = Field(default_factory=RemoverSettings)
    tasker: TaskerSettings = Field(default_factory=TaskerSettings)
    watcher: WatcherSettings = Field(default_factory=WatcherSettings)
    runner: RunnerSettings = Field(default_factory=RunnerSettings)
    servers: ServersSettings = Field(default_factory=ServersSettings)
    state: CfmStateSettings = Field(default_factory=CfmStateSettings)
    security: SecuritySettings = Field(default_factory=SecuritySettings)
    enable_coredump: Any = without_effect("the system decides about core dumps (ulimit -c)")

    @property
    def name(self) -> Addr:
        """Where other cfm and people reach this one."""
        return self.advertise_addr or self.listen_addr
