"""The tools, and a running service."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from project.local.stack import ROOT
from settings.environment import VAR
from tests.conftest import skip_or_fail
from tests.contract.toolbox import Toolbox, ToolsUnavailable, find_or_install
from tests.integration.gunicorn_server import Web

SETTINGS = "tests.contract.settings"


@pytest.fixture(scope="session")
def toolbox() -> Toolbox:
    """The linter, and the makers of clients."""
    try:
        return find_or_install(VAR / "cache")
    except ToolsUnavailable as error:
        skip_or_fail(str(error))


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """A web server over a database with two users, their tasks and the log of these."""
    state = tmp_path_factory.mktemp("web")
    variables = {"DJANGO_SETTINGS_MODULE": SETTINGS, "DATABASE_URL": f"sqlite:///{state / 'db.sqlite3'}"}
    with Web(state, **variables) as web:
        subprocess.run(
            [sys.executable, "-m", "tests.integration.fuzzing.contents"], env=web.environment, cwd=ROOT, check=True
        )
        yield web
