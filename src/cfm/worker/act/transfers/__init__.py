"""The ways to transfer a file.  Another way is another file here, and one more row of the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from cfm.model import Transfer
from cfm.worker.act.transfers.builtin import BuiltinSettings, BuiltinTransfer
from cfm.worker.act.transfers.contract import FileTransfer
from cfm.worker.act.transfers.external import ExternalSettings, ExternalTransfer


@dataclass(frozen=True, slots=True)
class TransferSettings:
    builtin: BuiltinSettings
    external: ExternalSettings | None = None
    """None: the settings name no downloader."""

    @property
    def kind(self) -> Transfer:
        return Transfer.BUILTIN if self.external is None else Transfer.EXTERNAL


def _external(settings: TransferSettings) -> FileTransfer:
    assert settings.external is not None
    return ExternalTransfer(settings.external)


TRANSFERS: Final[Mapping[Transfer, Callable[[TransferSettings], FileTransfer]]] = {
    Transfer.BUILTIN: lambda settings: BuiltinTransfer(settings.builtin),
    Transfer.EXTERNAL: _external,
}


def make_transfer(settings: TransferSettings) -> FileTransfer:
    return TRANSFERS[settings.kind](settings)
