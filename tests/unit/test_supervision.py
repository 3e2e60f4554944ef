"""Where supervisord's socket lies: with the stack's own files, as long as its address may be that long."""

from pathlib import Path

import pytest

from project.supervision import make_runtime_directory


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary directories are made."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stack's directory with a short address."""
    (tmp_path / "log").mkdir()
    monkeypatch.chdir(tmp_path)
    return Path("log")


def test_it_is_a_private_directory_among_the_stacks_own(directory: Path) -> None:
    runtime = make_runtime_directory(directory)

    assert runtime == directory / "supervisord"
    assert runtime.stat().st_mode & 0o777 == 0o700


def test_what_a_killed_stack_left_behind_is_cleared_away(directory: Path) -> None:
    (make_runtime_directory(directory) / "socket").touch()

    assert list(make_runtime_directory(directory).iterdir()) == []


def test_an_address_too_long_for_a_socket_is_not_used(temporary: Path) -> None:
    directory = temporary / ("long" * 25)

    assert make_runtime_directory(directory).parent == temporary
