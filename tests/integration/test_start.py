"""Web and workers that find a database without this release's tables do not start, and say what to do."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from project.local.servers.ports import LOOPBACK, free_port
from project.local.stack import MANAGE, ROOT
from project.releases.schema import HINT, NOT_STARTED

pytestmark = pytest.mark.integration

COMMANDS = {
    "web": (sys.executable, "-m", "gunicorn", "project.wsgi"),
    "worker": (*MANAGE, "rundramatiq", "--processes", "1", "--threads", "1"),
}


@pytest.mark.parametrize("program", COMMANDS)
def test_nothing_starts_on_a_database_that_is_not_migrated(tmp_path: Path, program: str) -> None:
    own = {
        "ENV_FILE": os.devnull,
        "DJANGO_SETTINGS_MODULE": "settings.development",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'db.sqlite3'}",
        "RABBITMQ_URL": f"amqp://user:password@{LOOPBACK}:{free_port()}/",
        "LOG_FILE": "",
        "BIND": f"{LOOPBACK}:{free_port()}",
    }
    ended = subprocess.run(
        COMMANDS[program],
        env={**os.environ, **own},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=120,
        check=False,
        text=True,
    )
    assert ended.returncode == NOT_STARTED, ended.stdout
    assert "CRITICAL project.releases.schema" in ended.stdout
    assert re.search(r"not started: the database lacks accounts\.0001_login_limits, .* and \d+ more\. ", ended.stdout)
    assert HINT in ended.stdout
    assert "Traceback" not in ended.stdout
