"""The documentation, held to what it says: links lead somewhere, endpoints and commands exist.

Endpoints are found in the sources of the two servers by their route tables, without starting them.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "src" / "cfm"

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
ENDPOINT = re.compile(r"^### `([A-Z|]+) (/[^`?\[]*)", re.MULTILINE)
MAKE = re.compile(r"\bmake ([a-z][a-z0-9-]*)")
SOMEBODYS_MACHINE = re.compile(r"/(?:work|root|home|Users)/[\w.]")

METHODS = {"get", "head", "post", "put", "patch", "delete"}


def project_files() -> list[Path]:
    """What git keeps or would keep: nothing generated, nobody's notes."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    paths = (ROOT / name for name in listed.stdout.decode().split("\0") if name)
    return sorted(path for path in paths if path.is_file())


FILES = project_files()
PAGES = [path for path in FILES if path.suffix == ".md"]


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to headings: lower case, spaces to hyphens, no punctuation."""
    titles = (re.sub(r"[^\w\- ]", "", title.lower()) for title in HEADING.findall(prose(page)))
    return {title.replace(" ", "-") for title in titles}


def dead_links(page: Path) -> Iterator[str]:
    for text_link, image_link in LINK.findall(prose(page)):
        target, _, anchor = (text_link or image_link).partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = (page.parent / target).resolve() if target else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            yield text_link or image_link


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_links_lead_somewhere(page: Path) -> None:
    assert list(dead_links(page)) == []


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = re.findall(r"`[^`]*`", page.read_text()) + FENCE.findall(page.read_text())
    named = {target for command in commands for target in MAKE.findall(command)}
    assert named <= targets


def test_the_readme_names_the_two_commands() -> None:
    readme = ROOT / "README.md"
    if not readme.exists():
        pytest.skip("there is no README yet")
    assert {"demo", "test"} <= set(MAKE.findall(readme.read_text()))


def documented_endpoints(server: str) -> set[tuple[str, str]]:
    _, _, section = (ROOT / "docs" / "http-api.md").read_text().partition(f"\n## {server}\n")
    section = section.partition("\n## ")[0]
    return {
        (as_get(method), plain(path))
        for methods, path in ENDPOINT.findall(section)
        for method in methods.split("|")
    }


def served_endpoints(folder: Path) -> set[tuple[str, str]]:
    return {found for file in folder.rglob("*.py") for found in routes(ast.parse(file.read_text()))}


def routes(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Routes in aiohttp's spellings: `web.get("/x", …)`, `add_get("/x", …)`, `route("GET", "/x", …)`."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        name = node.func.attr.removeprefix("add_")
        texts = [
            arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
        ]
        if name in METHODS and texts and texts[0].startswith("/"):
            yield as_get(name.upper()), plain(texts[0])
        elif name == "route" and len(texts) == 2 and texts[1].startswith("/"):
            yield as_get(texts[0].upper()), plain(texts[1])


def as_get(method: str) -> str:
    """aiohttp answers HEAD wherever it answers GET: here they are one."""
    return "GET" if method == "HEAD" else method


def plain(path: str) -> str:
    """A path with its variable parts unnamed, as names and patterns differ between page and program."""
    return re.sub(r"\{[^}]*\}", "{}", path.strip())


@pytest.mark.parametrize(("server", "room"), [("cfm", "controller"), ("cfw", "worker")])
def test_documented_endpoints_are_served_and_served_ones_documented(server: str, room: str) -> None:
    if not list((SOURCES / room).rglob("api*")):
        pytest.skip(f"{server} has no API yet")
    documented, served = documented_endpoints(server), served_endpoints(SOURCES / room)
    assert documented
    assert documented - served == set(), "documented, but not served"
    assert served - documented == set(), "served, but not documented"


def test_the_changelog_has_a_place_for_the_next_change() -> None:
    titles = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert titles[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", title) for title in titles[1:])


def test_every_decision_is_in_the_list() -> None:
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text()
    assert [page.name for page in folder.glob("0*.md") if page.name not in index] == []


def test_the_glossary_lists_every_room() -> None:
    rooms = {path.stem for path in SOURCES.iterdir() if path.is_dir() or path.suffix == ".py"}
    table = (ROOT / "docs" / "glossary.md").read_text().partition("## The rooms of the code")[2]
    listed = {
        name for row in re.findall(r"^\|[^|]*\|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    assert listed == {"cfm_lab", *(room for room in rooms if not room.startswith("_"))}


@pytest.mark.parametrize(
    "module", sorted(SOURCES.parent.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCES.parent))
)
def test_each_module_says_what_it_is_for(module: Path) -> None:
    assert ast.get_docstring(ast.parse(module.read_text()))


def test_no_file_names_somebodys_machine() -> None:
    named = []
    for path in FILES:
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        named += [f"{relative(path)}: {found[0]}" for found in SOMEBODYS_MACHINE.finditer(text)]
    assert named == []


def test_the_lock_file_names_no_host_and_hashes_everything() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text
    lines = text.replace("\\\n", " ").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert pins
    assert [pin for pin in pins if "==" not in pin or "--hash=sha256:" not in pin] == []


def test_what_is_read_in_an_afternoon_is_there_and_as_long_as_it_says() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    _, said, listed = re.split(r"some ([\d,]+) lines", text, maxsplit=1)
    names = re.findall(r"`([\w/]+(?:\.py|/))`", listed[: listed.index("Look up the others")])
    assert len(names) > 10
    files = {
        file
        for name in names
        for file in ((SOURCES / name).glob("*.py") if name.endswith("/") else (SOURCES / name,))
    }
    lines = sum(len(file.read_text().splitlines()) for file in files)
    assert abs(lines - int(said.replace(",", ""))) < lines // 20


def test_the_units_start_what_the_first_hour_installs() -> None:
    page = (ROOT / "docs" / "first-hour.md").read_text()
    (venv,) = re.findall(r"python3 -m venv (\S+)", page)
    for name in ("cfm", "cfw"):
        unit = (ROOT / "packaging" / f"{name}.service").read_text()
        assert f"ExecStart={venv}/bin/{name} run" in unit
