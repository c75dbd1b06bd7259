"""What is configured and cannot be used ends the start with one sentence; nothing careless is taken."""

from __future__ import annotations

import os
import shutil
import stat
import struct
from pathlib import Path

import pytest

from cfm.config import load_cfm, load_cfw
from cfm.errors import SettingsError
from cfm.model import Addr
from cfm.security import (
    controller_credentials,
    person_keys,
    status_of,
    without_credentials,
    worker_credentials,
)
from cfm.security.files import read_holdings
from cfm.security.tokens import PersonPass, Secret

CERTS = Path(__file__).parent / "certs"
TEXT = "correct horse battery staple"
SECRET = Secret(TEXT)
WORKER = Addr("127.0.2.1:8888")
CFM = "servers:\n  destinations: [127.0.2.1:8888]\n"
CFW = f"listen_addr: {WORKER}\ncfm_addr: 127.0.0.1:8080\nbase_dir: data\n"
TOKEN = "security:\n  token_file: token\n"


def private(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def refused(path: Path) -> str:
    with pytest.raises(SettingsError) as raised:
        read_holdings(path)
    assert raised.value.exit_code == 2
    return str(raised.value)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_the_owner_s_file_is_read_and_stripped(tmp_path: Path, mode: int) -> None:
    path = private(tmp_path / "token", f"# made on a Monday\n\n  {TEXT} \r\n", mode)
    assert read_holdings(path) == (SECRET,)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610, 0o777])
def test_what_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    said = refused(private(tmp_path / "token", TEXT, mode))
    assert f"{mode:04o}" in said
    assert "chmod 600" in said


OWNER, USER, GROUP, MASK, OTHER = 0x01, 0x02, 0x04, 0x10, 0x20
NOBODY = 0xFFFFFFFF


def with_acl(path: Path, user: int, *, group: int = 0) -> Path:
    """As systemd makes a credential: `setfacl -m u:USER:r`.  The mode then shows the mask, and is 0440."""
    entries = [
        (OWNER, 4, NOBODY),
        (USER, 4, user),
        (GROUP, group, NOBODY),
        (MASK, 4, NOBODY),
        (OTHER, 0, NOBODY),
    ]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(path, "system.posix_acl_access", acl)
    except OSError as error:
        pytest.skip(f"this file system knows no access lists: {error}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o440
    return path


def test_a_file_that_an_access_list_opens_to_us_alone_is_read(tmp_path: Path) -> None:
    path = with_acl(private(tmp_path / "token", TEXT), os.geteuid())
    assert read_holdings(path) == (SECRET,)


def test_a_file_that_an_access_list_opens_to_others_is_refused(tmp_path: Path) -> None:
    path = private(tmp_path / "token", TEXT)
    assert "0440" in refused(with_acl(path, os.geteuid() + 1))
    assert "0440" in refused(with_acl(path, os.geteuid(), group=4))


def test_a_link_counts_as_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(private(tmp_path / "token", TEXT, 0o644))
    assert "0644" in refused(tmp_path / "link")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("# only a remark\n", "empty"),
        ("short", "16 to 1024"),
        ("\n".join(f"secret number {i} of many" for i in range(5)), "more than 4"),
    ],
)
def test_a_file_without_a_token_is_refused(tmp_path: Path, text: str, said: str) -> None:
    assert said in refused(private(tmp_path / "token", text))


def test_what_is_no_text_file_is_refused(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "missing")
    assert "is a directory" in refused(tmp_path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert "not a plain file" in refused(tmp_path / "pipe")
    (tmp_path / "bytes").write_bytes(b"\xff" * 40)
    (tmp_path / "bytes").chmod(0o600)
    assert "not text" in refused(tmp_path / "bytes")


def cfm_settings(folder: Path, more: str = TOKEN) -> Path:
    (folder / "cfm.yml").write_text(CFM + more)
    return folder / "cfm.yml"


def cfw_settings(folder: Path, more: str = TOKEN) -> Path:
    (folder / "cfw.yml").write_text(CFW + more)
    return folder / "cfw.yml"


def test_one_secret_on_every_machine_fits_together(tmp_path: Path) -> None:
    private(tmp_path / "token", TEXT)
    here = controller_credentials(load_cfm(cfm_settings(tmp_path)))
    there = worker_credentials(load_cfw(cfw_settings(tmp_path)))
    assert here.admission.tokens is not None
    assert there.admission.tokens is not None
    assert there.admission.tokens.owner(here.order_tokens[WORKER].encode()) is not None
    assert here.admission.tokens.owner((there.to_cfm.token or "").encode()) is not None


def test_a_pass_is_as_good_as_the_secret_to_its_worker(tmp_path: Path) -> None:
    private(tmp_path / "token", TEXT)
    by_secret = worker_credentials(load_cfw(cfw_settings(tmp_path)))
    private(tmp_path / "token", SECRET.worker(WORKER).text)
    by_pass = worker_credentials(load_cfw(cfw_settings(tmp_path)))
    assert (by_pass.to_cfm, by_pass.to_peers) == (by_secret.to_cfm, by_secret.to_peers)


def test_two_secrets_are_both_taken_while_they_are_exchanged(tmp_path: Path) -> None:
    private(tmp_path / "token", f"{TEXT}\nthe next secret of ours\n")
    here = controller_credentials(load_cfm(cfm_settings(tmp_path)))
    assert here.order_tokens[WORKER] == SECRET.worker(WORKER).order
    private(tmp_path / "token", f"the next secret of ours\n{TEXT}\n")
    there = worker_credentials(load_cfw(cfw_settings(tmp_path)))
    assert there.admission.tokens is not None
    assert there.admission.tokens.owner(here.order_tokens[WORKER].encode()) is not None


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (SECRET.worker(Addr("127.0.2.2:8888")).text, "this worker is called 127.0.2.1:8888"),
        (PersonPass("reader", SECRET.reader).text, "person's machine"),
    ],
)
def test_a_worker_takes_its_own_pass_only(tmp_path: Path, held: str, said: str) -> None:
    private(tmp_path / "token", held)
    with pytest.raises(SettingsError, match=said):
        worker_credentials(load_cfw(cfw_settings(tmp_path)))


def test_cfm_and_the_command_line_want_what_is_theirs(tmp_path: Path) -> None:
    private(tmp_path / "token", SECRET.worker(WORKER).text)
    settings = load_cfm(cfm_settings(tmp_path))
    with pytest.raises(SettingsError, match="needs the node's secret"):
        controller_credentials(settings)
    with pytest.raises(SettingsError, match="not for the command line"):
        person_keys(settings.security)
    private(tmp_path / "token", PersonPass("operator", SECRET.operator).text)
    assert person_keys(settings.security).token == SECRET.operator
    private(tmp_path / "token", TEXT)
    assert person_keys(settings.security).token == SECRET.operator


def tls(folder: Path, **other: str) -> str:
    names = {"cert_file": "cfm.crt", "key_file": "cfm.key", "ca_file": "ca.crt"} | other
    for name in ("cfm.crt", "cfm.key", "ca.crt", "worker-1.key"):
        shutil.copy(CERTS / name, folder)
    for name in ("cfm.key", "worker-1.key"):
        (folder / name).chmod(0o600)
    return "security:\n  tls:\n" + "".join(f"    {key}: {name}\n" for key, name in names.items())


def test_certificates_are_read(tmp_path: Path) -> None:
    credentials = controller_credentials(load_cfm(cfm_settings(tmp_path, tls(tmp_path))))
    assert credentials.admission.is_guarded
    assert credentials.tls is not None
    assert credentials.tls.client.check_hostname


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"cert_file": "none.crt"}, "none.crt.*no such file"),
        ({"key_file": "worker-1.key"}, "not a usable certificate or key"),
        ({"ca_file": "cfm.key"}, "not a usable certificate or key"),
        ({"cert_file": "cfm.key"}, "not a usable certificate or key"),
    ],
)
def test_certificates_that_do_not_fit_are_refused(tmp_path: Path, other: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        controller_credentials(load_cfm(cfm_settings(tmp_path, tls(tmp_path, **other))))


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = cfm_settings(tmp_path, tls(tmp_path))
    (tmp_path / "cfm.key").chmod(0o640)
    with pytest.raises(SettingsError, match="0640"):
        controller_credentials(load_cfm(path))


def test_tls_is_whole_or_not_at_all(tmp_path: Path) -> None:
    path = cfm_settings(tmp_path, "security:\n  tls:\n    cert_file: cfm.crt\n")
    with pytest.raises(SettingsError, match=r"cfm.yml:4: security.tls: key_file and ca_file missing"):
        load_cfm(path)


def test_without_credentials_one_line_says_so(tmp_path: Path) -> None:
    settings = load_cfm(cfm_settings(tmp_path, ""))
    said = without_credentials(settings.security, settings.listen_addr)
    assert said is not None
    assert said.startswith("anyone who reaches 127.0.0.1:8080 can delete files")
    assert "security.token_file" in said
    assert status_of(settings.security, settings.listen_addr) == {"credentials": [], "notes": [said]}
    assert not controller_credentials(settings).admission.is_guarded


def test_with_credentials_the_status_says_which(tmp_path: Path) -> None:
    private(tmp_path / "token", TEXT)
    settings = load_cfm(cfm_settings(tmp_path))
    assert status_of(settings.security, settings.listen_addr) == {"credentials": ["token"], "notes": []}
