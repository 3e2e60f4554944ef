"""Where supervisord's socket lies, and what its configuration cannot hold."""

import os
from contextlib import suppress
from pathlib import Path

import pytest

from project.local.servers.errors import ServerFailedToStart
from project.local.supervision import SupervisedProgram, Supervisor, make_runtime_directory


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


def supervise(directory: Path, *, command: str = "true", log: Path | None = None) -> Supervisor:
    program = SupervisedProgram(
        name="web", command=[command], working_directory=directory, stop_timeout_seconds=1, log=log
    )
    return Supervisor({"service": [program]}, directory=directory, environment={})


@pytest.mark.parametrize("name", ["a ;b", "a #b", "a\t;b", "a\nb"])
def test_a_path_that_supervisord_would_cut_is_refused_before_anything_starts(name: str) -> None:
    with pytest.raises(ServerFailedToStart, match="where supervisord stops reading"):
        supervise(Path("/srv") / name)
    with pytest.raises(ServerFailedToStart, match="where supervisord stops reading"):
        supervise(Path("/srv"), command=f"/srv/{name}/python")
    with pytest.raises(ServerFailedToStart, match="where supervisord stops reading"):
        supervise(Path("/srv"), log=Path("/srv") / name)


def test_other_unusual_paths_are_run_from(tmp_path: Path) -> None:
    directory = tmp_path / "100% o'zbek a;b#c"
    directory.mkdir()
    touched = directory / "touched"
    program = SupervisedProgram(
        name="web", command=["touch", str(touched)], working_directory=directory, stop_timeout_seconds=1
    )
    supervisor = Supervisor({"service": [program]}, directory=directory, environment=dict(os.environ))
    supervisor.start()
    try:
        with suppress(ServerFailedToStart):  # it ends at once
            supervisor.start_program("web")
        assert touched.exists()
    finally:
        supervisor.stop()
