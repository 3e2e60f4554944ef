"""The tests in the outbox's README pass in another project, with the settings that the page gives."""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from project.local.servers.postgresql import PrivatePostgresql
from project.local.stack import ROOT

BLOCKS = [
    textwrap.dedent(block)
    for block in re.findall(
        r"^ *```python\n(.*?)^ *```", (ROOT / "actors/outbox/README.md").read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
]
SETTINGS = """
import dj_database_url

SECRET_KEY = "{key}"
DATABASES = {{"default": dj_database_url.parse("{database}")}}
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django_dramatiq", "actors.outbox"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
"""


@pytest.mark.parametrize("database", ["sqlite", "file", pytest.param("postgresql", marks=pytest.mark.integration)])
def test_the_page_s_tests_pass(tmp_path: Path, database: str, request: pytest.FixtureRequest) -> None:
    settings = SETTINGS.format(key="x" * 50, database=address(database, tmp_path, request))
    if database == "file":  # where a worker's threads have connections that wait for one another
        settings += (
            'DATABASES["default"] |= {"TEST": {"NAME": "test.sqlite3"}, "OPTIONS": {"transaction_mode": "IMMEDIATE"}}\n'
        )
    for_settings = [block for block in BLOCKS if block.startswith("DRAMATIQ_BROKER")]
    (tmp_path / "page_settings.py").write_text("\n".join([settings, *for_settings]))
    (tmp_path / "test_page.py").write_text("\n".join(block for block in BLOCKS if block not in for_settings))
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--ds=page_settings", "-p", "no:cacheprovider", "--timeout=60"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "6 passed" in run.stdout


def address(database: str, directory: Path, request: pytest.FixtureRequest) -> str:
    if database != "postgresql":
        return f"sqlite:///{directory / 'db.sqlite3'}"
    server: PrivatePostgresql = request.getfixturevalue("postgresql")
    server.create_database("page")
    return server.url("page")
