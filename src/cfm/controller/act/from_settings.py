"""From the settings in `cfm.yml` to the values and clients that the controller is built from."""

from __future__ import annotations

import secrets

from cfm.config import CfmSettings
from cfm.config.fields import MOST_SECONDS
from cfm.controller.decide.state import NS_PER_MS, NodeConfig
from cfm.fleet.client import TimeOuts, WorkerClient
from cfm.model import Addr
from cfm.plan.view import Rules
from cfm.security import ControllerCredentials


def rules_of(settings: CfmSettings) -> Rules:
    """What may change while cfm runs."""
    remover, tasker = settings.remover, settings.tasker
    return Rules(
        ad_prefixes=settings.ignore.prefixes,
        deletes_on=settings.deletes,
        limit_percent=remover.storage_usage_limit_percent,
        copy_speed_bps=tasker.task_copy_speed_bps,
        streams_per_source=tasker.streams_per_source,
        incoming_per_destination=tasker.incoming_per_destination,
        task_timeout_ms=1000 * tasker.task_timeout_sec,
        lease_ms=1000 * tasker.lease_sec,
        minimum_stay_ms=1000 * remover.minimum_stay_sec,
        metadata_max_age_ms=1000 * remover.metadata_max_age_sec,
        space_deletes_per_minute=remover.space_deletes_per_minute,
        trims_per_minute=remover.trims_per_minute,
        breaker_percent=remover.breaker_percent,
        confirmation_max_age_ms=1000 * remover.confirmation_max_age_sec,
        room_margin_percent=remover.room_margin_percent,
        just_deleted_ms=1000 * remover.just_deleted_sec,
        san_rest_ms=1000 * tasker.san_rest_sec,
        san_look_ms=1000 * tasker.san_look_sec,
        unknown_grace_ms=1000 * settings.servers.unknown_grace_sec,
    )


def node_of(settings: CfmSettings) -> NodeConfig:
    """Who belongs to the node, and how often it is looked at; with new digits for the ids of this start."""
    servers, runner = settings.servers, settings.runner
    looks_s = [runner.between_events_run_interval_sec, runner.periodic_run_interval_sec or MOST_SECONDS]
    return NodeConfig(
        sources=servers.sources,
        destinations=servers.destinations,
        rules=rules_of(settings),
        heartbeat_interval_ms=1000 * servers.heartbeat_interval_sec,
        misses_to_down=servers.heartbeat_misses,
        full_look_ms=1000 * min(looks_s),
        id_salt=secrets.randbelow(NS_PER_MS),
    )


def time_outs(settings: CfmSettings) -> TimeOuts:
    servers = settings.servers
    return TimeOuts(
        heartbeat_s=servers.heartbeat_timeout_sec,
        list_s=servers.list_timeout_sec,
        disk_s=servers.request_timeout_sec,
        copy_s=servers.request_timeout_sec,
        delete_s=servers.request_timeout_sec,
        cut_s=servers.request_timeout_sec,
    )


def worker_client(
    settings: CfmSettings,
    credentials: ControllerCredentials,
    controller_id: str,
    epoch: int,
    leader: Addr | None = None,
) -> WorkerClient:
    """The client that these settings want."""
    return WorkerClient(
        controller_id,
        epoch,
        time_outs(settings),
        tokens=credentials.order_tokens,
        tls=credentials.tls.client if credentials.tls else None,
        leader=leader,
    )
