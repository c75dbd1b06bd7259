"""The `security` section, the same in `cfm.yml` and `cfw.yml`: where credentials lie.

Only the form is looked at here; `cfm.security` reads the files.  Without any of these keys everything is as
with the earlier programs: whoever reaches the port may do what it offers.
"""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from cfm.config.fields import FilePath, refusal
from cfm.config.sections import Section


class TlsSettings(Section):
    """Mutual TLS: all three, or none."""

    cert_file: FilePath | None = Field(None, examples=["cfm.crt"])
    key_file: FilePath | None = Field(None, examples=["cfm.key"])
    ca_file: FilePath | None = Field(None, examples=["ca.crt"])

    @model_validator(mode="after")
    def _all_or_none(self) -> Self:
        missing = [key for key, value in self if value is None]
        if 0 < len(missing) < len(type(self).model_fields):
            raise refusal(f"{' and '.join(missing)} missing", "TLS needs cert_file, key_file and ca_file")
        return self


class SecuritySettings(Section):
    """Who may come in."""

    token_file: FilePath | None = Field(None, examples=["cfm.token"])
    tls: TlsSettings = Field(default_factory=TlsSettings)

    @property
    def configured(self) -> bool:
        return self.token_file is not None or self.tls.cert_file is not None
