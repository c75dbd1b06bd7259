"""What a worker answers, over raw sockets: the old wire to the letter, and the new beside it."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import re
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cfm import __version__, wire
from cfm.model import Addr
from cfm.worker.act.base_dir import Folder
from cfm.worker.act.real_base_dir import RealBaseDir
from cfm.worker.decide.fencing import Binding, Issuer
from cfm.worker.serve.openapi import DOCUMENT
from cfm_lab.testing.raw_http import request, say
from cfm_lab.testing.worker_rig import BOOT_ID, DISK_ID, WorkerRig, parse, worker_rig

OURS, OTHER = "controller-a", "controller-b"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[WorkerRig]:
    async with worker_rig(tmp_path) as rig:
        yield rig


def visible(rig: WorkerRig) -> set[str]:
    """What is in `base_dir`, but for the worker's own marker and probe file."""
    return {path.name for path in rig.base.iterdir() if not path.name.startswith(".cfw-")}


def put(rig: WorkerRig, *names: str) -> None:
    for name in names:
        (rig.base / name).write_bytes(b"12345")


def order(number: int, *, controller: str = OURS, epoch: int = 1) -> dict[str, str]:
    return {"Cfm_Controller": controller, "Cfm_Epoch": str(epoch), "Cfm_Order": str(number)}


def fence(number: int, *, controller: str = OURS, epoch: int = 1) -> dict[str, str]:
    return {"Cfm_Controller": controller, "Cfm_Epoch": str(epoch), "Cfm_Fence": str(number)}


class TestHeartbeat:
    async def test_tells_what_the_worker_is(self, rig: WorkerRig) -> None:
        answer = await rig.ask("HEAD", "/hb")
        told = {name: value for name, value in answer.headers.items() if name.startswith("cfw-")}
        assert (answer.status, answer.body) == (200, b"")
        assert told == {
            "cfw-version": __version__,
            "cfw-boot": BOOT_ID,
            "cfw-disk": DISK_ID,
            "cfw-probe": rig.api.shelf.seen_probe,
            "cfw-transfer": "builtin",
            "cfw-serves": "true",
            "cfw-limit-percent": "90",
            "cfw-slots": "1",
            "cfw-downloads": "1",
        }

    async def test_is_answered_while_the_disk_hangs(self, tmp_path: Path) -> None:
        disk = HungDisk(tmp_path / "base")
        async with worker_rig(tmp_path, disk_of=lambda _: disk) as rig:
            disk.hang()
            asking = [
                asyncio.create_task(rig.ask("GET", path)) for path in ("/files", "/df") for _ in range(40)
            ]
            await asyncio.to_thread(disk.reached.wait, 5)
            async with asyncio.timeout(2):
                assert (await rig.ask("HEAD", "/hb")).status == 200
            disk.go_on.set()
            statuses = {(await task).status for task in asking}
            assert statuses <= {200, 500}

    async def test_has_no_disk_where_it_is_gone(self, rig: WorkerRig) -> None:
        (rig.base / ".cfw-id").unlink()
        assert (await rig.ask("GET", "/files")).status == 500
        assert (await rig.ask("HEAD", "/hb")).headers["cfw-disk"] == ""


class HungDisk(RealBaseDir):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.go_on, self.reached = threading.Event(), threading.Event()
        self.go_on.set()

    def hang(self) -> None:
        self.go_on.clear()

    @contextmanager
    def open(self) -> Iterator[Folder]:
        if not self.go_on.is_set():
            self.reached.set()
            self.go_on.wait(10)
        with super().open() as folder:
            yield folder


class TestFiles:
    async def test_in_the_old_form(self, rig: WorkerRig) -> None:
        put(rig, "b.mpg", "a.mpg", "Z.mpg", "é.mpg")
        (rig.base / "folder").mkdir()
        answer = await rig.ask("GET", "/files")
        assert answer.status == 200
        assert answer.headers["content-type"] == "text/plain;charset=UTF-8"
        assert answer.body == "Z.mpg\na.mpg\nb.mpg\né.mpg\n".encode()

    async def test_none(self, rig: WorkerRig) -> None:
        answer = await rig.ask("GET", "/files")
        assert (answer.status, answer.body) == (200, b"")

    async def test_the_same_list_is_not_sent_twice(self, rig: WorkerRig) -> None:
        put(rig, "a.mpg")
        etag = (await rig.ask("GET", "/files")).headers["etag"]
        same = await rig.ask("GET", "/files", If_None_Match=f'"x", {etag}')
        assert (same.status, same.body, same.headers["etag"]) == (304, b"", etag)
        put(rig, "b.mpg")
        assert (await rig.ask("GET", "/files", If_None_Match=etag)).body == b"a.mpg\nb.mpg\n"

    async def test_who_has_an_earlier_list_gets_the_difference(self, rig: WorkerRig) -> None:
        put(rig, "a.mpg", "b.mpg", "d.mpg")
        first = (await rig.ask("GET", "/files")).headers["etag"]
        put(rig, "c.mpg")
        second = (await rig.ask("GET", "/files")).headers["etag"]
        (rig.base / "a.mpg").unlink()
        wants = {"A_IM": "gzip, cfm-names;q=1", "If_None_Match": first}
        answer = await rig.ask("GET", "/files", **wants)
        assert (answer.status, answer.body) == (226, b"-a.mpg\n+c.mpg\n")
        assert answer.headers["im"] == "cfm-names"
        assert answer.headers["delta-base"] == first
        assert answer.headers["cfw-files"] == "3"
        assert answer.headers["etag"] not in (first, second)

    async def test_otherwise_the_list_is_whole(self, rig: WorkerRig) -> None:
        put(rig, "a.mpg", "b.mpg")
        first = (await rig.ask("GET", "/files")).headers["etag"]
        put(rig, "c.mpg")
        for wants in (
            {"If_None_Match": first},
            {"If_None_Match": '"unknown"', "A_IM": "cfm-names"},
            {"If_None_Match": f'"x", {first}', "A_IM": "cfm-names"},
            {"If_None_Match": first, "A_IM": "gzip"},
            {"A_IM": "cfm-names"},
        ):
            answer = await rig.ask("GET", "/files", **wants)
            assert (answer.status, answer.body) == (200, b"a.mpg\nb.mpg\nc.mpg\n")
            assert "im" not in answer.headers

    async def test_an_unmounted_disk_is_no_empty_list(self, rig: WorkerRig) -> None:
        put(rig, "a.mpg")
        rig.base.rename(rig.base.parent / "away")
        gone = await rig.ask("GET", "/files")
        rig.base.mkdir()
        empty = await rig.ask("GET", "/files")
        assert [(answer.status, answer.body) for answer in (gone, empty)] == [(500, b"")] * 2


class TestDf:
    async def test_in_the_old_form_and_more(self, tmp_path: Path) -> None:
        async with worker_rig(tmp_path, quota_bytes=1000) as rig:
            (rig.base / "a.mpg").write_bytes(bytes(295))
            answer = await rig.ask("GET", "/df")
            assert answer.headers["content-type"] == "application/json;charset=UTF-8"
            assert answer.headers["cfw-limit-percent"] == "90"
            assert json.loads(answer.body) == {
                "total_size": "1000",
                "used_size": "295",
                "avail_size": "705",
                "used_percent": 30,
                "free_size": "705",
                "limit_percent": 90,
                "disk_id": DISK_ID,
                "arriving_size": "0",
            }

    async def test_of_the_real_disk(self, rig: WorkerRig) -> None:
        found = os.statvfs(rig.base)
        told = json.loads((await rig.ask("GET", "/df")).body)
        assert int(told["total_size"]) == found.f_blocks * found.f_frsize
        assert int(told["used_size"]) == int(told["total_size"]) - int(told["free_size"])

    async def test_never_zeros(self, rig: WorkerRig) -> None:
        (rig.base / ".cfw-id").unlink()
        answer = await rig.ask("GET", "/df")
        assert (answer.status, answer.body) == (500, b"")


class TestDelete:
    async def test_a_file(self, rig: WorkerRig) -> None:
        put(rig, "a.mpg", "b.mpg")
        answer = await rig.ask("DELETE", "/files/a.mpg")
        assert (answer.status, answer.body) == (200, b"")
        assert (await rig.ask("DELETE", "/files/a.mpg")).status == 404
        assert (await rig.ask("GET", "/files")).body == b"b.mpg\n"

    async def test_nothing_but_a_file(self, rig: WorkerRig) -> None:
        (rig.base / "folder").mkdir()
        (rig.base / "link").symlink_to(rig.source)
        os.mkfifo(rig.base / "fifo")
        for name in ("folder", "link", "fifo"):
            assert (await rig.ask("DELETE", f"/files/{name}")).status == 406
        assert visible(rig) == {"folder", "link", "fifo"}

    @pytest.mark.parametrize(
        "path",
        [
            "",
            ".",
            "..",
            ".cfw-id",
            "..%2f..%2fetc%2fpasswd",
            "%2e%2e/x",
            "..%5cx",
            "temp.downloaded/x.1",
            "a%00.mpg",
            "a%0a.mpg",
            "a%1b.mpg",
            "a%e2%80%ae.mpg",
            "x" * 256,
            "a.mpg?old",
            "a.mpg?",
            "a.mpg?force=1",
            "%ff.mpg",
            "%252e%252e%252f",
        ],
    )
    async def test_of_what_is_no_name_bounces(self, rig: WorkerRig, path: str) -> None:
        put(rig, "a.mpg", "x")
        (rig.base.parent / "x").write_bytes(b"outside")
        answer = await rig.ask("DELETE", f"/files/{path}")
        assert answer.status in (400, 404)
        assert visible(rig) == {"a.mpg", "x"}
        assert (rig.base.parent / "x").exists()

    @pytest.mark.parametrize(
        ("quoted", "name"),
        [("a%23old", "a#old"), ("a%3Fold", "a?old"), ("a%20b", "a b"), ("50%25", "50%"), ("a%2541", "a%41")],
    )
    async def test_of_exactly_that_file(self, rig: WorkerRig, quoted: str, name: str) -> None:
        siblings = {"a", "b", "50", "aA", "a%"}
        put(rig, name, *siblings)
        assert (await rig.ask("DELETE", f"/files/{quoted}")).status == 200
        assert visible(rig) == {*siblings}
        assert (await rig.ask("DELETE", f"/files/{quoted}")).status == 404

    async def test_of_a_name_as_an_old_cfm_sends_it(self, rig: WorkerRig) -> None:
        put(rig, "100%.mpg", "名.mpg")
        assert (await rig.ask("DELETE", "/files/100%.mpg")).status == 200
        raw = "DELETE /files/名.mpg HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()
        assert parse(await say(rig.addr, raw)).status in (200, 400)

    async def test_asked_for_by_another_sites_page_bounces(self, rig: WorkerRig) -> None:
        put(rig, "a.mpg")
        assert (await rig.ask("DELETE", "/files/a.mpg", Origin="http://evil.example")).status == 403
        assert (rig.base / "a.mpg").exists()

    async def test_of_a_file_that_is_being_received_is_refused(self, rig: WorkerRig) -> None:
        put(rig, "a.mpg")
        receipt = rig.api.shelf.begin("a.mpg", 1, 5)
        assert (await rig.ask("DELETE", "/files/a.mpg")).status == 409
        rig.api.shelf.abandon(receipt)
        assert (await rig.ask("DELETE", "/files/a.mpg")).status == 200

    async def test_on_a_disk_that_is_gone_is_not_done(self, rig: WorkerRig) -> None:
        put(rig, "a.mpg")
        (rig.base / ".cfw-id").unlink()
        assert (await rig.ask("DELETE", "/files/a.mpg")).status == 500
        assert (rig.base / "a.mpg").exists()

    async def test_needs_a_name_and_the_right_method(self, rig: WorkerRig) -> None:
        assert (await rig.ask("DELETE", "/files/")).status == 400
        assert (await rig.ask("DELETE", "/files")).status == 405
        assert (await rig.ask("GET", "/nothing")).status == 404


class TestFencing:
    async def test_an_unbound_worker_obeys_an_old_cfm_only(self, rig: WorkerRig) -> None:
        put(rig, "a.mpg")
        assert (await rig.ask("DELETE", "/files/a.mpg", **order(1))).status == 409
        assert (await rig.ask("DELETE", "/files/a.mpg")).status == 200

    async def test_a_bound_worker_obeys_its_controller_only(self, rig: WorkerRig) -> None:
        put(rig, "a.mpg")
        await rig.api.authority.hear(Issuer(OURS, 5))
        refused: list[dict[str, str]] = [
            {},
            order(1, controller=OTHER, epoch=9),
            order(1, epoch=4),
            {"Cfm_Controller": OURS},
            {"Cfm_Epoch": "9"},
            {"Cfm_Controller": OURS, "Cfm_Epoch": "nine"},
        ]
        for headers in refused:
            assert (await rig.ask("DELETE", "/files/a.mpg", **headers)).status == 409
            assert (await rig.ask("DELETE", "/streams/1", **headers)).status == 409
        assert (await rig.ask("DELETE", "/files/a.mpg", **order(1, epoch=6))).status == 200
        assert rig.api.authority.binding == Binding(OURS, 6)

    @pytest.mark.parametrize("path", ["/files", "/df", "/content/a.mpg?in=base"])
    async def test_a_higher_epoch_is_remembered_from_any_request(self, rig: WorkerRig, path: str) -> None:
        put(rig, "a.mpg")
        await rig.api.authority.hear(Issuer(OURS, 1))
        for controller, epoch in ((OURS, 7), (OURS, 3), (OTHER, 9)):
            headers = {"Cfm_Controller": controller, "Cfm_Epoch": str(epoch)}
            assert (await rig.ask("GET", path, **headers)).status == 200
            assert (await rig.state.recall()).binding == Binding(OURS, 7)

    async def test_only_our_controller_in_its_last_epoch_says_where_it_leads(self, tmp_path: Path) -> None:
        heard: list[Addr] = []
        async with worker_rig(tmp_path, leads=heard.append) as rig:
            await rig.api.authority.hear(Issuer(OURS, 7))
            for controller, epoch in ((OURS, 6), (OTHER, 9), (OURS, 8)):
                told = {"Cfm_Controller": controller, "Cfm_Epoch": str(epoch)}
                await rig.ask("GET", "/df", **told, Cfm_Leader=f"10.0.0.{epoch}:80")
            await rig.ask("GET", "/df", Cfm_Leader="10.0.0.1:80")
        assert heard == [Addr("10.0.0.8:80")]

    async def test_a_request_of_our_controller_says_that_it_runs(self, tmp_path: Path) -> None:
        heard: list[int] = []
        async with worker_rig(tmp_path, cfm_spoke=lambda: heard.append(1)) as rig:

            async def told(controller: str, path: str = "/hb") -> int:
                before = len(heard)
                await rig.ask("GET", path, Cfm_Controller=controller, Cfm_Epoch="7")
                return len(heard) - before

            assert await told(OTHER) == 1  # it may become ours
            await rig.api.authority.hear(Issuer(OURS, 7))
            assert (await told(OURS), await told(OURS, "/df"), await told(OTHER)) == (1, 1, 0)
            await rig.ask("GET", "/hb")
        assert len(heard) == 3

    async def test_only_our_controller_in_its_last_epoch_says_whose_disk_it_is(self, rig: WorkerRig) -> None:
        """One that was deposed still asked for the list, and the disk that is the SAN was used again."""
        await rig.api.authority.hear(Issuer(OURS, 7))
        for controller, epoch, said in (
            (OURS, 7, "/san"),
            (OURS, 6, ""),
            (OTHER, 9, ""),
            (OURS, 6, "/other"),
        ):
            told = {"Cfm_Controller": controller, "Cfm_Epoch": str(epoch)}
            await rig.ask("GET", "/files", **told, **({"Cfm_Source_Folder": said} if said else {}))
            assert rig.api.shelf.source_folder == "/san"
        await rig.ask("GET", "/files", Cfm_Controller=OURS, Cfm_Epoch="8")
        assert rig.api.shelf.source_folder == ""

    async def test_our_controller_is_told_that_its_epoch_is_over_and_nobody_else(
        self, rig: WorkerRig
    ) -> None:
        await rig.api.authority.hear(Issuer(OURS, 7))
        for controller, epoch, told in ((OURS, 6, "7"), (OURS, 7, None), (OURS, 8, None), (OTHER, 6, None)):
            headers = {"Cfm_Controller": controller, "Cfm_Epoch": str(epoch)}
            assert (await rig.ask("HEAD", "/hb", **headers)).headers.get("cfm-epoch") == told
        refused = await rig.ask("DELETE", "/files/a.mpg", **order(1, epoch=6))
        assert (refused.status, refused.headers["cfm-epoch"]) == (409, "7")

    async def test_nobody_is_obeyed_for_a_request_that_only_reads(self, rig: WorkerRig) -> None:
        assert (await rig.ask("GET", "/df", Cfm_Controller=OURS, Cfm_Epoch="7")).status == 200
        assert rig.api.authority.binding is None

    async def test_a_listing_with_a_fence_ends_earlier_orders(self, rig: WorkerRig) -> None:
        put(rig, "a.mpg")
        await rig.api.authority.hear(Issuer(OURS, 1))
        assert (await rig.ask("GET", "/files", **fence(10))).body == b"a.mpg\n"
        assert (await rig.ask("DELETE", "/files/a.mpg", **order(9))).status == 409
        assert (await rig.ask("GET", "/files", **fence(3))).status == 200
        assert (await rig.ask("DELETE", "/files/a.mpg", **order(9))).status == 409
        assert (await rig.ask("DELETE", "/files/a.mpg", **order(10))).status == 200
        assert (await rig.state.recall()).binding == Binding(OURS, 1, 10)

    async def test_a_fence_of_others_is_refused_and_a_plain_list_is_everybodys(self, rig: WorkerRig) -> None:
        await rig.api.authority.hear(Issuer(OURS, 2))
        for headers in (fence(9, controller=OTHER), fence(9, epoch=1), {"Cfm_Fence": "9"}):
            assert (await rig.ask("GET", "/files", **headers)).status == 409
        assert (await rig.ask("GET", "/files")).status == 200
        assert (await rig.ask("GET", "/files", **order(1, controller=OTHER))).status == 200

    async def test_release_frees(self, rig: WorkerRig) -> None:
        put(rig, "a.mpg")
        await rig.api.authority.hear(Issuer(OURS, 2))
        assert (await rig.ask("POST", "/release", Cfm_Controller=OURS)).status == 409
        was = await rig.ask("POST", "/release")
        assert (was.status, json.loads(was.body)) == (200, {"controller": OURS, "epoch": 2})
        again = await rig.ask("POST", "/release")
        assert json.loads(again.body) == {"controller": None, "epoch": None}
        assert (await rig.ask("DELETE", "/files/a.mpg")).status == 200

    async def test_its_controller_frees_it_and_no_other(self, rig: WorkerRig) -> None:
        await rig.api.authority.hear(Issuer(OURS, 2))
        for stranger in (order(1, controller=OTHER), order(1, epoch=1)):
            assert (await rig.ask("POST", "/release", **stranger)).status == 409
        assert rig.api.authority.binding == Binding(OURS, 2)
        for was in (OURS, None):  # a repetition does no harm
            freed = await rig.ask("POST", "/release", **order(1, epoch=3))
            assert (freed.status, json.loads(freed.body)["controller"]) == (200, was)

    async def test_release_is_not_for_pages(self, rig: WorkerRig) -> None:
        assert (await rig.ask("POST", "/release", Origin="http://evil.example")).status == 403


class TestStreams:
    async def test_a_cut_of_nothing_is_done(self, rig: WorkerRig) -> None:
        assert (await rig.ask("DELETE", "/streams/123")).status == 200

    @pytest.mark.parametrize("task", ["%0a", "x" * 200, "1?now"])
    async def test_what_is_no_task_bounces(self, rig: WorkerRig, task: str) -> None:
        assert (await rig.ask("DELETE", f"/streams/{task}")).status == 400


class TestForPeopleAndMachines:
    async def test_health(self, rig: WorkerRig) -> None:
        answer = await rig.ask("GET", "/healthz")
        told = json.loads(answer.body)
        assert (answer.status, told["status"], told["disk_id"]) == (200, "ok", DISK_ID)
        assert told["streams"] == {"controlled": 0, "uncontrolled": 0, "slots": 1}
        (rig.base / ".cfw-id").unlink()
        await rig.ask("GET", "/df")
        assert json.loads((await rig.ask("GET", "/healthz")).body)["status"] == "degraded"

    async def test_metrics_all_have_help_and_our_name(self, rig: WorkerRig) -> None:
        put(rig, "a.mpg")
        await rig.ask("DELETE", "/files/a.mpg")
        page = (await rig.ask("GET", "/metrics")).body.decode()
        names = set(re.findall(r"^# TYPE (\S+)", page, re.MULTILINE))
        assert names == set(re.findall(r"^# HELP (\S+) \S", page, re.MULTILINE))
        assert names
        assert all(name.startswith("cfw_") for name in names)
        assert f'cfw_build_info{{python="{platform.python_version()}",version="{__version__}"}} 1.0' in page
        assert 'cfw_deletes_total{outcome="deleted"} 1.0' in page

    async def test_the_document_names_every_route(self, rig: WorkerRig) -> None:
        routes = {
            (re.sub(r":[^}]*}", "}", resource.canonical), route.method.lower())
            for resource in rig.api.application().router.resources()
            for route in resource
            if route.method != "HEAD"
        }
        documented = {(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods}
        assert documented - {("/content/{name}", "head")} == routes
        assert json.loads((await rig.ask("GET", "/api/openapi.json")).body) == DOCUMENT

    async def test_errors_of_new_endpoints_are_problems(self, rig: WorkerRig) -> None:
        answer = await rig.ask("GET", "/content/none.mpg?in=base")
        assert answer.headers["content-type"] == wire.PROBLEM_JSON
        assert json.loads(answer.body)["status"] == 404
        assert answer.headers["cfw-version"] == __version__


async def test_a_raw_target_that_is_no_path_bounces(rig: WorkerRig) -> None:
    put(rig, "a.mpg")
    for target in (
        "http://127.0.0.1/files/a.mpg",
        "*",
        "/files/../files/a.mpg",
        "//files/a.mpg",
        "/files//a.mpg",
    ):
        answer = parse(await say(rig.addr, request("DELETE", target)))
        assert answer.status in (400, 404, 405)
    assert (rig.base / "a.mpg").exists()
