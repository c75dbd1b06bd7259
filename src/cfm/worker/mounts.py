"""On what kind of file system a folder lies, by the kernel's mount table.

`state` asks it before it trusts a lock: SQLite's cannot be trusted on a disk that another machine serves.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cfm.errors import StateError

NETWORK_FILE_SYSTEMS: Final = frozenset(
    {
        *("9p", "afs", "beegfs", "ceph", "cifs", "coda", "fuse.glusterfs", "fuse.sshfs", "gfs2", "glusterfs"),
        *("lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "smb3", "smbfs"),
    }
)


def refuse_network_file_system(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> None:
    """StateError where the folder of `path` is mounted from another machine."""
    kind = file_system_of(path.parent, mounts)
    if kind in NETWORK_FILE_SYSTEMS:
        raise StateError(f"{path} lies on a network file system ({kind}), whose locks cannot be trusted")


def file_system_of(folder: Path, mounts: Path) -> str:
    """The type of the file system that holds `folder`, by the kernel's mount table; "" where unknown.

    A line reads `id parent major:minor root MOUNT_POINT options [tags…] - TYPE source options`.
    """
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
        place = folder.resolve()
    except OSError:
        return ""
    best, kind = -1, ""
    for line in lines:
        before, _, after = line.partition(" - ")
        point = Path(_unescape(before.split(" ")[4]))
        # On the same mount point the later line covers the earlier.
        if place.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), after.split(" ")[0]
    return kind


def _unescape(octal: str) -> str:
    """The kernel writes space, tab, newline and backslash in mount points as three octal digits."""
    for code in ("040", "011", "012", "134"):
        octal = octal.replace("\\" + code, chr(int(code, 8)))
    return octal
