"""Which file system a path lies on, by the kernel's mount table.

SQLite's locks cannot be trusted on network file systems, so state is not kept there.
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
    """The type of the network file system that holds `path` (or will); None where it is a local one."""
    kind = kind_of_mount(
        path, Path("/proc/self/mounts").read_text(encoding="utf-8", errors="surrogateescape")
    )
    return kind if kind in NETWORK_FILE_SYSTEMS or NETWORK_FUSE.fullmatch(kind) else None


def kind_of_mount(path: Path, mounts: str) -> str:
    """The file system type of the innermost mount above `path`; the last of several on one folder."""
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
    """The table writes spaces and backslashes as octal numbers (`\\040`)."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)
