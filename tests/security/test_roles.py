"""Who may do what, over sockets, at both real servers: nothing is changed without valid credentials, and by
nobody who may not."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from cfm import wire
from cfm.controller.serve.api import ACCESS_POLICY as CFM_ACCESS
from cfm.model import Addr, Status
from cfm.security import Admission
from cfm.security.roster import worker_roster
from cfm.security.tokens import Secret
from cfm.web.answers import READING_METHODS
from cfm.web.authentication import AccessPolicy
from cfm.worker.serve.api import ACCESS_POLICY as CFW_ACCESS
from cfm_lab.testing.controller_rig import DESTINATIONS, ControllerRig, a_task, controller_rig
from cfm_lab.testing.raw_http import connect, hang_up, request, say, status_of
from cfm_lab.testing.worker_rig import WorkerRig, parse, worker_rig

TEXT = "correct horse battery staple"
SECRET = Secret(TEXT)
OWN, OTHER = (SECRET.worker(addr) for addr in DESTINATIONS)
HERE = SECRET.worker(Addr("10.0.0.1:8888"))
WORKING = b'{"status":"working"}'


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
async def cfm(tmp_path: Path) -> AsyncIterator[ControllerRig]:
    (tmp_path / "token").write_text(TEXT)
    (tmp_path / "token").chmod(0o600)
    tasks = [a_task(1, "A.mpg"), a_task(2, "B.mpg", DESTINATIONS[1])]
    async with controller_rig(tmp_path, tasks, more_settings="security:\n  token_file: token\n") as rig:
        yield rig


@pytest.fixture
async def cfw(tmp_path: Path) -> AsyncIterator[WorkerRig]:
    async with worker_rig(tmp_path, admission=Admission(tokens=worker_roster([HERE]))) as rig:
        (rig.base / "A.mpg").write_bytes(b"a")
        yield rig


WRONG = {
    "none": {},
    "empty": {"Authorization": ""},
    "no token": {"Authorization": "Bearer"},
    "an empty token": {"Authorization": "Bearer "},
    "wrong": bearer("0" * 64),
    "nearly right": bearer(OWN.report[:-1] + ("0" if OWN.report[-1] != "0" else "1")),
    "too much": bearer(OWN.report + "0"),
    "the beginning": bearer(OWN.report[:32]),
    "upper case": bearer(OWN.report.upper()),
    "the secret itself": bearer(TEXT),
    "the pass itself": bearer(OWN.text),
    "another scheme": {"Authorization": f"Digest {OWN.report}"},
    "not Basic": {"Authorization": f"Basic {OWN.report}"},
    "not ascii": {"Authorization": "Bearer \xc3\xa4" * 20},
}
AT_CFM = (("PATCH", "/tasks/1"), ("DELETE", "/tasks/1"), ("GET", "/tasks"), ("GET", "/no/such"))
AT_CFW = (("DELETE", "/files/A.mpg"), ("HEAD", "/hb"), ("GET", "/files"), ("GET", "/content/A.mpg"))


async def test_cfm_answers_nothing_without_valid_credentials(cfm: ControllerRig) -> None:
    for how, (method, path) in itertools.product(WRONG, AT_CFM):
        answer = await cfm.ask(method, path, WORKING if method == "PATCH" else b"", **WRONG[how])
        assert (how, path, answer.status) == (how, path, 401)
        assert answer.headers["www-authenticate"].startswith('Bearer realm="cfm"')
    assert cfm.status_of(1) is Status.READY


async def test_cfw_answers_nothing_without_valid_credentials(cfw: WorkerRig) -> None:
    for how, (method, path) in itertools.product(WRONG, AT_CFW):
        answer = await cfw.ask(method, path, **WRONG[how])
        assert (how, path, answer.status) == (how, path, 401)
    assert (cfw.base / "A.mpg").exists()


async def test_cfm_names_the_worker_that_has_no_valid_credentials(cfm: ControllerRig) -> None:
    for _ in range(50):
        asked = await cfm.ask("GET", f"/tasks/next?dst_addr={DESTINATIONS[1]}&wait_s=0", **bearer("0" * 64))
        assert asked.status == 401
    status = json.loads((await cfm.ask("GET", "/api/v1/status", **bearer(SECRET.reader))).body)
    [found] = [one for one in status["conditions"] if one["name"] == "no_credentials"]
    assert found["servers"] == [DESTINATIONS[1]]
    lines = [one for one in cfm.controller.recent if one["event"] == "a worker has no valid credentials"]
    assert len(lines) == 1


async def test_a_stranger_with_a_made_up_name_is_nobody(cfm: ControllerRig) -> None:
    await cfm.ask("GET", "/tasks/next?dst_addr=10.9.9.9:1&wait_s=0")
    await cfm.ask("GET", "/api/v1/status")
    assert not cfm.controller.core.state.strangers.seen_ms


async def test_two_credentials_are_none(cfw: WorkerRig) -> None:
    twice = f"Authorization: Bearer {HERE.order}\r\n" * 2
    data = f"DELETE /files/A.mpg HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{twice}\r\n".encode()
    assert status_of(await say(cfw.addr, data)) in (400, 401)
    assert (cfw.base / "A.mpg").exists()


async def test_a_token_of_a_megabyte_is_answered_at_once(cfm: ControllerRig) -> None:
    answer = parse(await say(cfm.addr, request("PATCH", "/tasks/1", Authorization="Bearer " + "x" * 2**20)))
    assert answer.status == 401
    assert cfm.status_of(1) is Status.READY


async def test_the_body_of_a_stranger_is_not_waited_for(cfm: ControllerRig) -> None:
    head = b"PATCH /tasks/1 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 30\r\n\r\n"
    reader, writer = await connect(cfm.addr)
    writer.write(head + b'{"st')
    assert await reader.readline() == b"HTTP/1.1 401 Unauthorized\r\n"
    await hang_up(writer)


# ── at cfm ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_worker_touches_its_own_tasks_only(cfm: ControllerRig) -> None:
    strange = await cfm.ask("PATCH", "/tasks/1", WORKING, **bearer(OTHER.report))
    assert strange.status == 403
    assert cfm.status_of(1) is Status.READY
    assert (await cfm.ask("PATCH", "/tasks/1", WORKING, **bearer(OWN.report))).status == 200
    assert cfm.status_of(1) is Status.WORKING
    assert (await cfm.ask("PATCH", "/tasks/7", WORKING, **bearer(OWN.report))).status == 404


async def test_a_worker_asks_for_its_own_work_only(cfm: ControllerRig) -> None:
    path = f"/tasks/next?wait_s=0&dst_addr={DESTINATIONS[0]}"
    assert (await cfm.ask("GET", path, **bearer(OTHER.report))).status == 403
    answer = await cfm.ask("GET", path, **bearer(OWN.report))
    assert answer.status == 200
    assert b'"id":"1"' in answer.body


@pytest.mark.parametrize(
    ("token", "statuses"),
    [
        (SECRET.operator, (200, 403, 200, 404, 409)),
        (SECRET.reader, (200, 403, 403, 403, 403)),
        (OWN.report, (200, 200, 403, 403, 403)),
        (OWN.order, (401, 401, 401, 401, 401)),
        (OWN.content, (401, 401, 401, 401, 401)),
    ],
    ids=["operator", "reader", "worker", "what cfm shows a worker", "what workers show each other"],
)
async def test_each_role_has_its_reach_at_cfm(
    cfm: ControllerRig, token: str, statuses: tuple[int, ...]
) -> None:
    shown = bearer(token)
    asked = [
        await cfm.ask("GET", "/api/v1/status", **shown),
        await cfm.ask("PATCH", "/tasks/1", WORKING, **shown),
        await cfm.ask("DELETE", "/tasks/2", **shown),
        await cfm.ask("POST", "/api/v1/confirm", **shown),
        await cfm.ask("POST", "/api/v1/metadata/a-b", **shown),
    ]
    assert tuple(answer.status for answer in asked) == statuses


async def test_a_browser_may_look_and_nothing_else(cfm: ControllerRig) -> None:
    """What it sends by itself, for whatever page, must not change anything: also with an operator's token."""
    basic = {"Authorization": "Basic " + base64.b64encode(f"me:{SECRET.operator}".encode()).decode()}
    assert (await cfm.ask("GET", "/dashboard", **basic)).status == 200
    assert (await cfm.ask("POST", "/api/v1/confirm", **basic)).status == 403
    assert (await cfm.ask("DELETE", "/tasks/1", **basic)).status == 403


async def test_who_watches_whether_it_runs_needs_nothing(cfm: ControllerRig) -> None:
    assert (await cfm.ask("GET", "/healthz")).status == 200
    assert (await cfm.ask("GET", "/readyz")).status == 503
    assert (await cfm.ask("POST", "/healthz")).status == 401


async def test_the_status_says_what_is_in_force(cfm: ControllerRig) -> None:
    answer = await cfm.ask("GET", "/api/v1/status", **bearer(SECRET.reader))
    assert b'"credentials":["token"],"notes":[]' in answer.body


async def test_without_credentials_the_status_and_the_pages_say_so(tmp_path: Path) -> None:
    async with controller_rig(tmp_path, [a_task(1)]) as rig:
        for path in ("/api/v1/status", "/", "/dashboard"):
            assert b"can delete files, as no credentials" in (await rig.ask("GET", path)).body
        assert (await rig.ask("PATCH", "/tasks/1", WORKING)).status == 200


# ── at cfw ──────────────────────────────────────────────────────────────────────────────────────────────

ORDER = {"Cfm-Controller": "0123456789abcdef", "Cfm-Epoch": "3"}


@pytest.mark.parametrize(
    ("token", "statuses"),
    [
        (HERE.order, (200, 200, 200, 200, 200)),
        (HERE.report, (200, 403, 200, 403, 403)),
        (HERE.content, (403, 403, 403, 200, 403)),
        (HERE.reader, (200, 403, 403, 403, 403)),
        (SECRET.operator, (401, 401, 401, 401, 401)),
        (OWN.order, (401, 401, 401, 401, 401)),
    ],
    ids=["cfm", "itself", "another worker", "reader", "operator", "cfm, at another worker"],
)
async def test_each_role_has_its_reach_at_cfw(cfw: WorkerRig, token: str, statuses: tuple[int, ...]) -> None:
    shown = bearer(token)
    asked = [
        await cfw.ask("GET", "/files", **shown),
        await cfw.ask("GET", "/files", **shown, **ORDER, **{wire.FENCE: "5"}),
        await cfw.ask("POST", "/release", **shown),
        await cfw.ask("GET", "/content/A.mpg", **shown),
        await cfw.ask("DELETE", "/files/A.mpg", **shown),
    ]
    assert tuple(answer.status for answer in asked) == statuses
    assert (cfw.base / "A.mpg").exists() == (statuses[-1] != 200)


@pytest.mark.parametrize("header", [wire.EPOCH, wire.CONTROLLER, wire.FENCE])
@pytest.mark.parametrize("path", ["/healthz", "/files"])
async def test_only_cfm_speaks_with_an_epoch(cfw: WorkerRig, header: str, path: str) -> None:
    """Such a header changes what a worker remembers, also where anybody may read."""
    assert (await cfw.ask("GET", path, **{header: "7"})).status == 401
    assert (await cfw.ask("GET", path, **{header: "7"}, **bearer(HERE.reader))).status == 403


async def test_only_a_worker_reads_in_the_name_of_a_task(cfw: WorkerRig) -> None:
    for token, status in ((HERE.content, 200), (HERE.order, 403)):
        answer = await cfw.ask("GET", "/content/A.mpg", **bearer(token), **{wire.TASK: "7"})
        assert answer.status == status


# ── nothing is forgotten ────────────────────────────────────────────────────────────────────────────────


def changing_routes(app: web.Application) -> set[tuple[str, str]]:
    return {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and route.method not in READING_METHODS
    }


def changes_allowed(policy: AccessPolicy) -> set[tuple[str, str]]:
    return {row for row in policy.allowed if row[0] not in READING_METHODS}


async def test_every_change_says_who_may_make_it(cfw: WorkerRig, cfm: ControllerRig) -> None:
    assert changing_routes(cfw.api.application()) == changes_allowed(CFW_ACCESS)
    assert changing_routes(cfm.api.application()) == changes_allowed(CFM_ACCESS)
