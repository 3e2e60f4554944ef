"""What the pages name exists: links, headings, files, modules, commands, targets; and the README stays short."""

import ast
import re
import tomllib
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from django.core.management import get_commands

from project.local import lesson_page
from project.local.demo import CREATED, DELETED, UPDATED
from project.local.stack import ROOT

MAX_README_WORDS = 1_100
OUTBOX_README = ROOT / "actors/outbox/README.md"
FOLDERS = ("actors", "bench", "deploy", "docs", "project", "settings", "tasks", "tests")
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])
FENCE = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
PATH = re.compile(rf"(?:{'|'.join(FOLDERS)}|requirements|\.ci)(?:/[\w.-]+)+/?|(?:{'|'.join(FOLDERS)})/")
NAME = re.compile(r"(?!.*\.py$)((?:actors|project|settings|tasks)(?:\.\w+)+)(?:\(.*\))?")

by_page = pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])


def prose_of(page: Path) -> str:
    return FENCE.sub("", page.read_text("utf-8"))


def code_of(page: Path) -> list[str]:
    """Return a page's code: its blocks, and the text between backticks."""
    return [*FENCE.findall(page.read_text("utf-8")), *SPAN.findall(prose_of(page))]


def anchors_of(page: Path) -> set[str]:
    """Return the anchors that GitHub gives a page's headings."""
    headings = HEADING.findall(prose_of(page))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def exists(name: str) -> bool:
    """Return whether a dotted name is a module, or a name in one."""
    module, _, attribute = name.rpartition(".")
    if is_module(name):
        return True
    return hasattr(import_module(module), attribute) if is_module(module) else "." in module and exists(module)


def is_module(name: str) -> bool:
    """Return whether a dotted name is a module, without importing it."""
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@by_page
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(prose_of(page)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target), link


@by_page
def test_every_path_in_backticks_exists(page: Path) -> None:
    paths = [span for span in SPAN.findall(prose_of(page)) if PATH.fullmatch(span)]
    assert [path for path in paths if not (ROOT / path).exists()] == []


@by_page
def test_every_dotted_name_in_backticks_exists(page: Path) -> None:
    names = [match[1] for span in SPAN.findall(prose_of(page)) if (match := NAME.fullmatch(span))]
    assert [name for name in names if not exists(name)] == []


@by_page
def test_every_command_and_target_exists(page: Path) -> None:
    code = "\n".join(code_of(page))
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert set(re.findall(r"\bmanage\.py\s+([a-z_]+)", code)) <= set(get_commands())
    assert set(re.findall(r"\bmake\s+([a-z][a-z-]*)", code)) <= set(targets)


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").split()) <= MAX_README_WORDS


def test_every_decision_is_listed() -> None:
    folder = ROOT / "docs/decisions"
    listed = LINK.findall((folder / "README.md").read_text("utf-8"))
    assert sorted(page.name for page in folder.glob("0*.md")) == sorted(each for each in listed if each[0] == "0")


def test_the_demo_runs_each_request_of_the_lesson() -> None:
    blocks = re.findall(r"^```bash\n(.*?)^```", lesson_page.PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    requests = [block for block in blocks if "curl" in block]
    assert list(lesson_page.commands()) == ["token", "create", "update", "history", "delete", "late"]
    assert requests == list(lesson_page.commands().values())


def test_the_lesson_shows_the_lines_that_the_demo_waits_for() -> None:
    page = lesson_page.PAGE.read_text("utf-8").splitlines()
    task = {"title": "Yangi vazifa", "id": 1}
    late = {"title": "Kechikkan vazifa", "id": 3}
    assert {line.format(**task) for line in (CREATED, UPDATED, DELETED)} | {CREATED.format(**late)} <= set(page)


def test_the_architecture_shows_the_layers_that_are_held() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    [layers] = [contract["layers"] for contract in contracts if contract.get("containers") == ["actors.outbox"]]
    held = [set(re.findall(r"\w+", layer)) - {"migrations"} for layer in layers]
    blocks = [block.splitlines()[1:-1] for block in FENCE.findall((ROOT / "docs/architecture.md").read_text("utf-8"))]
    assert held in [[set(re.findall(r"\w+", line)) for line in block] for block in blocks]


def test_the_outbox_names_all_that_other_code_imports_from_it() -> None:
    rows = re.findall(r"^\| `(actors\.outbox[\w.]*)` \| (.+?) \|", OUTBOX_README.read_text("utf-8"), re.MULTILINE)
    public = {f"{module}.{name}" for module, names in rows for name in SPAN.findall(names)}
    assert public
    assert imports_of_the_outbox() <= public
    assert [name for name in public if not exists(name)] == []


def imports_of_the_outbox() -> set[str]:
    """Return what code outside the outbox imports from it."""
    files = [path for folder in ("actors", "project", "settings", "tasks") for path in (ROOT / folder).rglob("*.py")]
    outside = [path for path in files if OUTBOX_README.parent not in path.parents and "migrations" not in path.parts]
    nodes = [node for path in [*outside, ROOT / "gunicorn.conf.py"] for node in ast.walk(ast.parse(path.read_bytes()))]
    whole = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    named = {
        f"{node.module}.{alias.name}" for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    return {name for name in whole | named if name.startswith("actors.outbox")}
