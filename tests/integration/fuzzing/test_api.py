"""No generated request, valid or not, is answered otherwise than the OpenAPI schema says, whoever sends it.

Schemathesis makes the requests, from the schema that clients download, and sends them to a real gunicorn. The seed is
fixed, so that a run finds today what it found yesterday: to search further, set FUZZ_SEED and FUZZ_EXAMPLES.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from project.local.servers.postgresql import PrivatePostgresql
from project.local.stack import ROOT
from tests.integration.fuzzing.contents import PASSWORD, ROLES
from tests.integration.gunicorn_server import Web

pytestmark = [pytest.mark.integration, pytest.mark.heavy, pytest.mark.timeout(3 * 1_200)]

SEED = os.environ.get("FUZZ_SEED", "1")
EXAMPLES = os.environ.get("FUZZ_EXAMPLES", "4")
MIN_CASES = 1_500
TIMEOUT_SECONDS = 1_200
SETTINGS = "tests.integration.fuzzing.settings"
CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
AUTHENTICATION = """
[auth.dynamic.openapi.jwtAuth]
path = "/api/token/"
payload = { username = "%s", password = "%s" }
extract_selector = "/access"
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'db.sqlite3'}"
        return
    server: PrivatePostgresql = request.getfixturevalue("postgresql")
    server.create_database("fuzzing")
    yield server.url("fuzzing")
    server.drop_database("fuzzing")


@pytest.fixture
def variables(database_url: str, tmp_path: Path) -> dict[str, str]:
    """The environment of a service whose database has tasks and users."""
    own = {"DJANGO_SETTINGS_MODULE": SETTINGS, "DATABASE_URL": database_url, "ENV_FILE": os.devnull}
    variables = own | {"STATE_DIR": str(tmp_path), "LOG_FILE": str(tmp_path / "commands.log")}
    for command in (["manage.py", "migrate", "-v0"], ["-m", "tests.integration.fuzzing.contents"]):
        subprocess.run([sys.executable, *command], env=os.environ | variables, cwd=ROOT, check=True)
    return own


def attack(web: Web, role: str, directory: Path) -> dict[str, Any]:
    """Let Schemathesis send its requests; return its report."""
    configuration, report = directory / f"{role}.toml", directory / f"{role}.json"
    sign_in = AUTHENTICATION % (role, PASSWORD) if role in ROLES else ""
    configuration.write_text(CONFIGURATION.read_text("utf-8") + sign_in, "utf-8")
    address = str(web.client.base_url).rstrip("/")
    run = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(configuration)),
            *("run", f"{address}/api/schema/", "--url", address, "--seed", SEED, "--max-examples", EXAMPLES),
            "--checks=all",
            *("--continue-on-failure", "--report-json-path", str(report), "--no-color"),
        ],
        cwd=directory,  # where it keeps its cache
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
        text=True,
    )
    assert run.returncode == 0, f"as {role}, FUZZ_SEED={SEED} FUZZ_EXAMPLES={EXAMPLES}\n{run.stdout}\n{run.stderr}"
    made: dict[str, Any] = json.loads(report.read_text("utf-8"))
    return made


def test_every_generated_request_is_answered_as_the_schema_says(variables: dict[str, str], tmp_path: Path) -> None:
    state = tmp_path / "web"
    state.mkdir()
    cases = 0
    with Web(state, **variables) as web:
        processes = web.workers()
        for role in (*ROLES, "nobody"):
            report = attack(web, role, tmp_path)
            assert report["operations"]["tested"] == report["operations"]["total"] > 0
            assert not report["errors"]
            # Not refused at the door: a signed-in user's requests reach the views.
            assert role not in ROLES or not report["warnings"]["missing_auth"]
            cases += report["test_cases"]["generated"]
        assert web.workers() == processes, "a process of the server died"
    log = web.log.read_text("utf-8")

    print(f"{cases} cases, FUZZ_SEED={SEED} FUZZ_EXAMPLES={EXAMPLES}")
    assert cases >= MIN_CASES
    assert " ERROR " not in log, log
    assert " CRITICAL " not in log, log
