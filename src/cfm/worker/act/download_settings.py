"""What `cfw.yml` says, in the form that downloads and transfers want it."""

from __future__ import annotations

from cfm.config import CfwSettings
from cfm.security import NO_KEYS, Keys
from cfm.worker.act.transfers import TransferSettings
from cfm.worker.act.transfers.builtin import BuiltinSettings
from cfm.worker.act.transfers.external import ExternalSettings
from cfm.worker.decide.downloads import DownloadBook
from cfm.worker.decide.offers import Neighbourhood


def neighbourhood(settings: CfwSettings) -> Neighbourhood:
    first, *more = settings.cfm_addr
    return Neighbourhood(settings.name, first, tuple(more))


def transfer_settings(settings: CfwSettings, keys: Keys = NO_KEYS) -> TransferSettings:
    """The built-in transfer, or the external downloader if the settings name one."""
    external = None
    if settings.downloader_bin is not None:
        external = ExternalSettings(
            program=settings.downloader_bin,
            success=settings.downloader_download_success_match_string,
            least_timeout_s=settings.downloader_timeout_sec,
        )
    loopback_ok = neighbourhood(settings).on_loopback
    builtin = BuiltinSettings(threads=2 * settings.downloads, loopback_ok=loopback_ok, keys=keys)
    return TransferSettings(builtin, external)


def make_book(settings: CfwSettings) -> DownloadBook:
    return DownloadBook(
        neighbourhood(settings), slots=settings.downloads, poll_ms=settings.downloader_sleep_sec * 1_000
    )
