"""The ways to transfer a file; another one is another file here, and one more row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from cfm.model import Transfer as Kind
from cfm.worker.act.transfers.builtin import BuiltinSettings, BuiltinTransfer
from cfm.worker.act.transfers.contract import Transfer
from cfm.worker.act.transfers.external import ExternalSettings, ExternalTransfer


@dataclass(frozen=True, slots=True)
class TransferSettings:
    builtin: BuiltinSettings
    external: ExternalSettings | None = None
    """None: the settings name no downloader."""

    @property
    def kind(self) -> Kind:
        return Kind.BUILTIN if self.external is None else Kind.EXTERNAL


def _external(settings: TransferSettings) -> Transfer:
    assert settings.external is not None
    return ExternalTransfer(settings.external)


TRANSFERS: Final[Mapping[Kind, Callable[[TransferSettings], Transfer]]] = {
    Kind.BUILTIN: lambda settings: BuiltinTransfer(settings.builtin),
    Kind.EXTERNAL: _external,
}


def make_transfer(settings: TransferSettings) -> Transfer:
    return TRANSFERS[settings.kind](settings)
