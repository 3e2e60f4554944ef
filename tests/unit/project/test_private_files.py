"""Databases and logs are made for their owner alone, and those of `make run` become so."""

import logging
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from project.local.stack import ROOT
from project.logs import LineHandler
from project.private_files import tighten


@pytest.fixture(autouse=True)
def no_umask() -> Iterator[None]:
    """Let the umask take nothing away: what is private is so by itself."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def run(code: str, state: Path) -> None:
    own = {"DJANGO_SETTINGS_MODULE": "settings.development", "STATE_DIR": str(state), "ENV_FILE": os.devnull}
    program = f"import django; django.setup()\nfrom django.db import connection\n{code}"
    command = [sys.executable, "-c", program]
    subprocess.run(
        command, env={**os.environ, **own, "LOG_FILE": str(state / "new" / "debug.log")}, cwd=ROOT, check=True
    )


TABLE = """
import glob, os
cursor = connection.cursor()
cursor.execute("CREATE TABLE word AS SELECT 'vazifa'")
files = glob.glob(connection.settings_dict["NAME"] + "*")
assert len(files) == 3, files
for file in files:
    assert not os.stat(file).st_mode & {others}, file
"""


def test_a_new_database_its_journal_and_its_folder_are_the_owners_alone(tmp_path: Path) -> None:
    state = tmp_path / "state"
    run(TABLE.format(others=0o077), state)
    assert mode(state) == 0o700
    assert mode(state / "db.sqlite3") == 0o600
    assert mode(state / "new" / "debug.log") == 0o600


def test_a_database_that_exists_keeps_the_mode_that_its_operator_gave_it(tmp_path: Path) -> None:
    run(TABLE.format(others=0o077), tmp_path)
    (tmp_path / "db.sqlite3").chmod(0o660)
    run("connection.cursor().execute('DELETE FROM word')", tmp_path)
    assert mode(tmp_path / "db.sqlite3") == 0o660


def test_a_log_that_is_moved_away_is_made_anew_for_its_owner_and_one_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    log = tmp_path / "debug.log"
    log.touch()
    log.chmod(0o640)
    handler = LineHandler(str(log), terminal=sys.stderr)
    assert mode(log) == 0o640
    log.rename(tmp_path / "debug.log.1")
    handler.handle(logging.makeLogRecord({"msg": "a line"}))
    assert log.read_text() == "a line\n"
    assert mode(log) == 0o600


def test_what_is_loose_is_tightened_with_its_contents_and_nothing_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.mkdir(mode=0o755)
    (folder / "output.log").touch(0o644)
    (folder / "run").touch(0o755)
    beside = tmp_path / "beside"
    beside.touch(0o644)
    (folder / "link").symlink_to(beside)

    tighten([folder, tmp_path / "missing"])

    assert (mode(folder), mode(folder / "output.log"), mode(folder / "run")) == (0o700, 0o600, 0o700)
    assert mode(beside) == 0o644
