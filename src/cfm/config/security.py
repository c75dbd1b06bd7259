"""The `security` section: the files with the credentials.  It is the same in `cfm.yml` and `cfw.yml`.

This module checks only the form; `cfm.security` reads the files.  Without any of these keys the programs
behave as the earlier ones did: whoever reaches the port may use everything behind it.
"""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from cfm.config.fields import FilePath, refusal
from cfm.config.sections import Section


class TlsSettings(Section):
    """Mutual TLS: it needs all three files, or none of them."""

    cert_file: FilePath | None = Field(None, examples=["cfm.crt"])
    key_file: FilePath | None = Field(None, examples=["cfm.key"])
    ca_file: FilePath | None = Field(None, examples=["ca.crt"])

    @model_validator(mode="after")
    def _all_or_none(self) -> Self:
        missing = [key for key, value in self if value is None]
        if 0 < len(missing) < len(type(self).model_fields):
            remedy = "set cert_file, key_file and ca_file, or none of them"
            raise refusal(f"{' and '.join(missing)} missing", remedy)
        return self


class SecuritySettings(Section):
    """Who may use the ports of this program."""

    token_file: FilePath | None = Field(None, examples=["cfm.token"])
    tls: TlsSettings = Field(default_factory=TlsSettings)

    @property
    def configured(self) -> bool:
        return self.token_file is not None or self.tls.cert_file is not None
