"""The tools are installed once; where they cannot be, it is said why."""

import sys
from pathlib import Path

import pytest

from tests.contract import toolbox
from tests.contract.toolbox import NPM_PACKAGES, PYTHON_PACKAGES, ToolsUnavailable, find_or_install


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all the programs that there are."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def write(program: Path, script: str) -> None:
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_without_node_it_is_said_how_to_get_it(programs: Path, tmp_path: Path) -> None:
    with pytest.raises(ToolsUnavailable, match=r"^node is missing: apt-get install nodejs npm$"):
        find_or_install(tmp_path)


def test_a_package_that_cannot_be_had_is_named_with_the_reason(programs: Path, tmp_path: Path) -> None:
    write(programs / "node", "")
    write(programs / "npm", "echo no network >&2; exit 1")

    with pytest.raises(ToolsUnavailable, match=r"^npm cannot install typescript@[\d.]+: no network$"):
        find_or_install(tmp_path)
    assert not (tmp_path / "contract/installed").exists()


def test_what_is_installed_is_installed_again_only_in_another_version(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(programs / "node", "")
    write(programs / "npm", f"echo >> {tmp_path / 'runs'}")
    python = tmp_path / "python"
    write(python, "/bin/mkdir -p python/bin; echo '#!/bin/sh' > python/bin/python; /bin/chmod +x python/bin/python")
    monkeypatch.setattr(sys, "executable", str(python))

    found = find_or_install(tmp_path)
    assert find_or_install(tmp_path) == found
    assert len((tmp_path / "runs").read_text()) == 1

    monkeypatch.setattr(toolbox, "NPM_PACKAGES", (*NPM_PACKAGES, "another@1.0.0"))
    find_or_install(tmp_path)
    assert len((tmp_path / "runs").read_text()) == 2


def test_every_package_has_an_exact_version() -> None:
    assert all(name.rpartition("@")[2][0].isdigit() for name in NPM_PACKAGES)
    assert all("==" in name for name in PYTHON_PACKAGES)
