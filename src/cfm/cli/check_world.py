"""What `check` finds doubtful in the world: files, folders and mounts that settings name.

Nothing here is an error of form: a daemon starts without these, says so, and does nothing because of them.
The one contradiction is a `base_dir` that overlaps a source folder.  A look at a dead mount may hang for
ever, so each look has a thread of its own and the report does not wait for it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cfm.config.problems import SettingsProblem
from cfm.inputs.file_system import RealFileSystem
from cfm.inputs.log_reader import newest_logs
from cfm.inputs.seeking import MARKER, around, folders_below, marked, seek
from cfm.model import Addr
from cfm.mounts import network_file_system
from cfm.threads import LifeSign
from cfm.worker.act.base_dir import TEMP_FOLDER

PATIENCE_S = 3.0


def doubt(key: str, text: str, remedy: str) -> SettingsProblem:
    return SettingsProblem(None, key, text, remedy)


@dataclass(slots=True)
class PathCheck:
    """One look at one path, which may never end."""

    key: str
    path: Path
    doubts_about: Callable[[str, Path], Iterable[SettingsProblem]]
    found: list[SettingsProblem] | None = field(default=None, init=False)

    def run(self) -> None:
        try:
            self.found = list(self.doubts_about(self.key, self.path))
        except OSError as error:
            why = error.strerror or type(error).__name__
            self.found = [
                doubt(
                    self.key,
                    f"{self.path} cannot be looked at ({why})",
                    "check its disk, and the rights of this user",
                )
            ]


def look_at_all(looks: list[PathCheck], patience_s: float = PATIENCE_S) -> list[SettingsProblem]:
    """All looks at once; the doubts in the order of the looks."""
    threads = [threading.Thread(target=look.run, daemon=True) for look in looks]
    for thread in threads:
        thread.start()
    until = time.monotonic() + patience_s
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    return [found for look in looks for found in _found_by(look)]


def _found_by(look: PathCheck) -> list[SettingsProblem]:
    if look.found is not None:
        return look.found
    return [doubt(look.key, f"{look.path} does not answer", "see whether its mount hangs")]


# --- files and folders ------------------------------------------------------------------------------


def metadata_file(key: str, path: Path) -> Iterator[SettingsProblem]:
    if not path.exists():
        yield doubt(key, f"{path} does not exist", "nothing is copied or deleted until it is there")
    elif not path.is_file():
        yield doubt(key, f"{path} is not a plain file", "name the file itself")
    elif not os.access(path, os.R_OK):
        yield doubt(key, f"{path} may not be read", "give the right to read it")
    elif path.stat().st_size == 0:
        yield doubt(key, f"{path} is empty", "nothing is copied or deleted until it has content")


def readable_folder(key: str, path: Path) -> Iterator[SettingsProblem]:
    if not path.exists():
        yield doubt(key, f"{path} does not exist", "it is unknown until it is there; is it mounted?")
    elif not path.is_dir():
        yield doubt(key, f"{path} is not a folder", "name a folder")
    elif not os.access(path, os.R_OK | os.X_OK):
        yield doubt(key, f"{path} may not be read", "give the right to read it")


def source_folder(key: str, path: Path) -> Iterator[SettingsProblem]:
    """Empty is as good as gone: an unmounted SAN looks like that."""
    doubts = list(readable_folder(key, path))
    yield from doubts
    if not doubts and next(path.iterdir(), None) is None:
        yield doubt(key, f"{path} is empty", "it is unknown until it has files; is it mounted?")


def no_base_dir(key: str, path: Path, probes: Mapping[str, Addr]) -> Iterator[SettingsProblem]:
    """A source folder that is a worker's `base_dir`, or lies in one, or around one.

    `probes`: the probe files of the workers that answer, and whose they are.
    """
    if not path.is_dir():
        return
    files, sign, folder = RealFileSystem(), LifeSign(), str(path)
    below = folders_below(files, folder, sign)
    found = seek(files, folder, below, probes, sign)
    for probe, place in found.items():
        text = f"{place} is the base_dir of {probes[probe]}: nothing is copied or deleted there"
        yield doubt(key, text, "name a base_dir outside of every source folder in its cfw.yml")
    for place in marked(files, [folder, *around(files, folder, below)], sign):
        if place not in found.values():
            text = f"{place} has a cfw's marker {MARKER}: a cfw uses it, or its disk was copied there"
            yield doubt(key, text, f"stop that cfw; then remove {MARKER} there, and its cfw.db")


def event_log_folder(key: str, path: Path) -> Iterator[SettingsProblem]:
    doubts = list(readable_folder(key, path))
    yield from doubts
    if doubts:
        return
    names = [entry.name for entry in path.iterdir()]
    if not names:
        yield doubt(key, f"{path} is empty", "hits are unknown, and no space is made; is it mounted?")
    elif not newest_logs(names, int(time.time())):
        text = f"{path} holds no EventLog[YYYYMMDD].log"
        yield doubt(key, text, "no file rises until the load balancer writes one")


def base_folder(key: str, path: Path) -> Iterator[SettingsProblem]:
    doubts = list(readable_folder(key, path))
    yield from doubts
    if not doubts and not os.access(path, os.W_OK):
        yield doubt(key, f"{path} may not be written", "give the right to write there")
    if not doubts:
        yield from arrivals(key, path)
    if not doubts and (links := _links_in(path)):
        number = f"{links:,} links in {path} are" if links > 1 else f"1 link in {path} is"
        yield doubt(key, f"{number} not served", "move the files themselves there: no link is ever followed")


def arrivals(key: str, path: Path) -> Iterator[SettingsProblem]:
    """What keeps every download from becoming visible.  Nothing is written to find out."""
    found, temps = os.statvfs(path), path / TEMP_FOLDER
    if found.f_files and not found.f_favail:
        yield doubt(key, f"{path} has no inodes left", "remove small files there, or make a larger disk")
    if temps.is_dir() and (temps.stat().st_dev != path.stat().st_dev or temps.is_mount()):
        text = f"{temps} is on another file system than {path}"
        yield doubt(key, text, "make it a plain folder, or no download can become visible")


def _links_in(folder: Path) -> int:
    with os.scandir(folder) as entries:
        return sum(entry.is_symlink() for entry in entries if not entry.name.startswith("."))


def writable_folder(key: str, path: Path) -> Iterator[SettingsProblem]:
    """A folder of ours: it may be missing, and is made."""
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    if not existing.is_dir():
        yield doubt(key, f"{existing} is not a folder", "name a folder")
    elif not os.access(existing, os.W_OK | os.X_OK):
        yield doubt(key, f"{existing} may not be written", "give the right to write there")


def state_file(key: str, path: Path) -> Iterator[SettingsProblem]:
    yield from writable_folder(key, path.parent)
    if path.is_dir():
        yield doubt(key, f"{path} is a folder", "name a file in it")
    kind = network_file_system(path)
    if kind:
        remedy = "name a file on a local disk: locks cannot be trusted on a network"
        yield doubt(key, f"{path} lies on a network file system ({kind})", remedy)


def program(key: str, path: Path) -> Iterator[SettingsProblem]:
    if not path.is_file():
        yield doubt(key, f"{path} does not exist", "write the program's full path")
    elif not os.access(path, os.X_OK):
        yield doubt(key, f"{path} may not be executed", "make it executable (chmod +x)")


# --- base_dir and source folders ----------------------------------------------------------------------


def overlaps(base_dir: Path, source_dirs: Iterable[Path]) -> Iterator[SettingsProblem]:
    """A `base_dir` equal to, inside or around a source folder: a delete there would hit the SAN."""
    base = _identity(base_dir)
    for source_dir in source_dirs:
        source = _identity(source_dir)
        if base is None or source is None:
            continue
        if base == source:
            where = "is"
        elif source in _identities_above(base_dir):
            where = "lies inside"
        elif base in _identities_above(source_dir):
            where = "lies around"
        else:
            continue
        text = f"{base_dir} {where} the source folder {source_dir}"
        yield doubt("base_dir", text, "keep the two apart: what is deleted here would be gone there")


def _identity(folder: Path) -> tuple[int, int] | None:
    """Device and inode: the same for all names of one folder."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _identities_above(folder: Path) -> set[tuple[int, int] | None]:
    return {_identity(above) for above in folder.resolve().parents}
