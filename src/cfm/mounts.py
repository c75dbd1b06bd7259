"""The type of the file system that holds a path, from the kernel's mount table.

SQLite's locks are not reliable on network file systems.  So cfm and cfw refuse to keep their state there.
And not every file system counts the folders in a folder (`inputs.file_system`).
"""

from __future__ import annotations

import re
from pathlib import Path

# fmt: off
NETWORK_FILE_SYSTEMS = frozenset({
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "ceph",
    "lustre", "beegfs", "gpfs", "glusterfs", "gfs2", "ocfs2", "davfs",
})
# fmt: on
NETWORK_FUSE = re.compile(
    r"fuse\.(sshfs|glusterfs|ceph.*|s3fs|davfs2?|rclone|gvfsd-fuse|mfs|moosefs|juicefs)"
)


def network_file_system(path: Path) -> str | None:
    """The type of the network file system that holds `path`, or will hold it; None on a local file system."""
    kind = file_system_of(path)
    return kind if kind in NETWORK_FILE_SYSTEMS or NETWORK_FUSE.fullmatch(kind) else None


def file_system_of(path: Path) -> str:
    """The type of the file system that holds `path`, or will hold it.  It may wait for a dead mount."""
    table = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="surrogateescape")
    return kind_of_mount(path, table)


def kind_of_mount(path: Path, mounts: str) -> str:
    """The file system type of the innermost mount around `path`.

    Where several are mounted on one folder, the last one counts: it hides the others.
    """
    real = path.resolve()
    deepest, kind = -1, ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = Path(_unescaped(fields[1]))
        if real.is_relative_to(point) and len(point.parts) >= deepest:
            deepest, kind = len(point.parts), fields[2]
    return kind


def _unescaped(field: str) -> str:
    """The table writes a space, a tab, a line end and a backslash as octal numbers (`\\040`)."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)
