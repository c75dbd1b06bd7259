"""`make schemathesis`: asks both programs what their OpenAPI documents allow, and worse.

Both servers run in this process, on made-up folders and tasks; Schemathesis, which has an environment of its
own, asks them over loopback.  It looks for answers of 500, for statuses and types that the document does not
name, and for nonsense that is taken.  Exit code 3 where it found something.
"""

# ruff: noqa: INP001 - a program, and no module

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from cfm.logs import setup_logging
from cfm_lab.testing.controller_rig import DESTINATIONS, a_task, controller_rig
from cfm_lab.testing.worker_rig import worker_rig

VIOLATION: Final = 3
CHECKS: Final = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)
NOT_ASKED: Final = ("/api/v1/events", "/readyz")
"""A stream without end; and an answer of 503 that means what it says."""


async def main(arguments: list[str]) -> int:
    setup_logging("critical", None, "cfm")
    with tempfile.TemporaryDirectory() as scratch:
        folders = [Path(scratch) / name for name in ("cfm", "cfw")]
        for folder in folders:
            folder.mkdir()
        tasks = [a_task(number, f"{number}.mpg", DESTINATIONS[number % 2]) for number in range(1, 20)]
        async with controller_rig(folders[0], tasks) as cfm, worker_rig(folders[1]) as cfw:
            (cfw.base / "A.mpg").write_bytes(b"a" * 1000)
            (cfw.source / "B.mpg").write_bytes(b"b" * 1000)
            failed = [addr for addr in (cfm.addr, cfw.addr) if not await _is_sound(addr, arguments)]
    return VIOLATION if failed else 0


async def _is_sound(addr: str, arguments: list[str]) -> bool:
    command = ["schemathesis", "run", f"http://{addr}/api/openapi.json", "--checks", ",".join(CHECKS)]
    command += ["--max-examples", "40", "--request-timeout", "20", "--no-color"]
    for path in NOT_ASKED:
        command += ["--exclude-path", path]
    asking = await asyncio.create_subprocess_exec(*command, *arguments, cwd=tempfile.gettempdir())
    return await asking.wait() == 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
