"""The settings of cfw: a model of `cfw.yml`.  `docs/settings.md` says what each key means."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import Field

from cfm.config.fields import (
    Address,
    Bytes,
    CfmAddresses,
    FilePath,
    HostName,
    Interval,
    LogLevel,
    Pattern,
    PeerAddress,
    Percent,
    Seconds,
    StateUrl,
    Streams,
    path_of_state,
)
from cfm.config.sections import Section, SettingsFile, without_effect
from cfm.config.security import SecuritySettings
from cfm.model import Addr


class CfwStateSettings(Section):
    """Where the worker keeps its id, its controller and the reports that cfm has not yet acknowledged."""

    url: StateUrl = Field("sqlite:///cfw.db")

    @property
    def path(self) -> Path:
        return path_of_state(self.url)


class CfwSettings(SettingsFile):
    """All of `cfw.yml`.  Every path is absolute."""

    listen_addr: Address = Field(examples=["127.0.2.1:8888"])
    cfm_addr: CfmAddresses = Field(examples=["127.0.0.1:8080"])
    base_dir: FilePath = Field(examples=["/data"])
    advertise_addr: PeerAddress | None = Field(None, examples=["127.0.2.1:8888"])
    hosts: tuple[HostName, ...] = Field((), examples=["vod-7"])
    source_dirs: tuple[FilePath, ...] = Field((), examples=["/data2"])
    storage_usage_limit_percent: Percent = 90
    quota_bytes: Bytes | None = Field(None, examples=[1_000_000_000_000])
    streams: Streams = 1
    downloads: Streams = 1
    downloader_bin: FilePath | None = Field(None, examples=["downloader.sh"])
    downloader_download_success_match_string: Pattern = re.compile("Successfully")
    downloader_timeout_sec: Seconds = 3600
    downloader_sleep_sec: Interval = 5
    log_dir: FilePath = Path("log")
    log_level: LogLevel = "info"
    state: CfwStateSettings = Field(default_factory=CfwStateSettings)
    security: SecuritySettings = Field(default_factory=SecuritySettings)
    enable_coredump: Any = without_effect("the system decides about core dumps (ulimit -c)")

    @property
    def name(self) -> Addr:
        """The name of this worker on the wire: its address, spelled as in `cfm.yml`."""
        return self.advertise_addr or self.listen_addr
