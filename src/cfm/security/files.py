"""Reads the token files and certificates that the `security` section names, and refuses unsafe ones.

Every problem is a `SettingsError` with one sentence, and the program does not start.  An operator who asked
for credentials must never get a program without them.
"""

from __future__ import annotations

import http.client
import os
import ssl
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from cfm.addresses import is_wildcard, local_host
from cfm.config import split_address
from cfm.config.security import SecuritySettings, TlsSettings
from cfm.errors import SettingsError
from cfm.model import Addr
from cfm.security.tokens import Holding, TokenError, parse_holding

MOST_BYTES: Final = 64 * 1024
MOST_LINES: Final = 4
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_ACL_OWNER, _ACL_USER, _ACL_MASK = 0x01, 0x02, 0x10


def read_holdings(path: Path) -> tuple[Holding, ...]:
    """The lines of a token file.  The program shows the first one to others, and accepts each of them.

    Raises:
        SettingsError: the file cannot be read, other users can read it, or it holds no token.
    """
    try:
        text = _private_text(path)
        lines = [line.strip() for line in text.splitlines()]
        held = tuple(parse_holding(line) for line in lines if line and not line.startswith("#"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"security.token_file {path}: {_why(error)}") from None
    if not 0 < len(held) <= MOST_LINES:
        why = "it is empty; `cfm token new` makes a secret" if not held else f"more than {MOST_LINES} lines"
        raise SettingsError(f"security.token_file {path}: {why}")
    return held


def _private_text(path: Path) -> str:
    """The text of a file that only its owner can read.

    Its mode is checked when the file is open, so that nobody can replace the file after the check.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        _refuse_others(file.fileno(), path)
        return file.read(MOST_BYTES).decode("utf-8")


def _refuse_others(fd: int, path: Path) -> None:
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        raise TokenError("not a plain file")
    if found.st_mode & _OTHERS and not _is_ours_by_acl(fd):
        mode = stat.S_IMODE(found.st_mode)
        raise TokenError(f"others can use it (its mode is {mode:04o}); run `chmod 600 {path}`")


def _is_ours_by_acl(fd: int) -> bool:
    """Is the group's part of the mode only the mask of an access list that lets our user in, and nobody else?

    A file of systemd's `LoadCredential=` is like that: it belongs to root, and its mode looks like 0440.
    """
    try:
        acl = os.getxattr(fd, "system.posix_acl_access")
    except OSError:  # it has none
        return False
    entries = struct.iter_unpack("<HHI", acl[4:])  # tag, rights, user or group; four bytes of version before
    return all(
        tag in (_ACL_OWNER, _ACL_MASK) or not rights or (tag == _ACL_USER and user == os.geteuid())
        for tag, rights, user in entries
    )


@dataclass(frozen=True)
class Tls:
    """Mutual TLS, version 1.2 or later.

    Each side shows a certificate from the node's authority, and verifies the other side's.
    """

    cert_file: Path
    key_file: Path
    ca_file: Path
    server: ssl.SSLContext = field(repr=False)
    client: ssl.SSLContext = field(repr=False)
    own_der: bytes = field(repr=False)

    def nameless(self) -> ssl.SSLContext:
        """As `client`, for a server whose certificate may be for any name."""
        context = _context(ssl.PROTOCOL_TLS_CLIENT, self.cert_file, self.key_file, self.ca_file)
        context.check_hostname = False
        return context


def read_tls(files: TlsSettings) -> Tls | None:
    """The TLS contexts; None where TLS is not configured.

    Raises:
        SettingsError: a file is missing, is readable by others, or has the wrong content.
    """
    if files.cert_file is None or files.key_file is None or files.ca_file is None:
        return None
    try:
        with files.key_file.open("rb") as key:
            _refuse_others(key.fileno(), files.key_file)
        return Tls(
            files.cert_file,
            files.key_file,
            files.ca_file,
            _context(ssl.PROTOCOL_TLS_SERVER, files.cert_file, files.key_file, files.ca_file),
            _context(ssl.PROTOCOL_TLS_CLIENT, files.cert_file, files.key_file, files.ca_file),
            _first_certificate(files.cert_file),
        )
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        where = getattr(error, "filename", None) or f"{files.cert_file}, {files.key_file}, {files.ca_file}"
        raise SettingsError(f"security.tls ({where}): {_why(error)}") from None


def _context(protocol: int, cert: Path, key: Path, authority: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority)
    # With the empty password, a key with a passphrase is an error.  Otherwise the program would ask for one.
    context.load_cert_chain(cert, key, password="")
    return context


def _first_certificate(path: Path) -> bytes:
    text = path.read_text("ascii")
    end = "-----END CERTIFICATE-----"
    begin = text.index("-----BEGIN CERTIFICATE-----")
    return ssl.PEM_cert_to_DER_cert(text[begin : text.index(end, begin) + len(end)])


def _why(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "not text"
    if isinstance(error, ssl.SSLError):
        return f"not a usable certificate or key ({error.reason or error})"
    if isinstance(error, OSError):
        return (error.strerror or type(error).__name__).lower()
    return str(error)


NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Keys:
    """What a client shows to one kind of server."""

    token: str | None = field(default=None, repr=False)
    tls: Tls | None = None

    @property
    def scheme(self) -> str:
        return "http" if self.tls is None else "https"

    @property
    def context(self) -> ssl.SSLContext | None:
        return None if self.tls is None else self.tls.client

    @property
    def headers(self) -> Mapping[str, str]:
        return NO_HEADERS if self.token is None else {"Authorization": f"Bearer {self.token}"}


NO_KEYS: Final = Keys()


def connect(host: str, port: int, keys: Keys, timeout_s: float) -> http.client.HTTPConnection:
    """A connection for a single request; the caller sends `keys.headers` with it."""
    if keys.tls is None:
        return http.client.HTTPConnection(host, port, timeout=timeout_s)
    return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=keys.tls.client)


def connect_here(addr: Addr, keys: Keys, timeout_s: float) -> http.client.HTTPConnection:
    """The same to a program of this machine, at the address that it listens on.

    Where it listens on every address, it is reached by the loopback.  No certificate is for that, and no
    other machine can answer there.  So the name in the certificate is not compared.
    """
    host, port = split_address(addr)
    if keys.tls is None or not is_wildcard(host):
        return connect(local_host(host), port, keys, timeout_s)
    return http.client.HTTPSConnection(local_host(host), port, timeout=timeout_s, context=keys.tls.nameless())


def holdings(security: SecuritySettings) -> tuple[Holding, ...]:
    return () if security.token_file is None else read_holdings(security.token_file)
