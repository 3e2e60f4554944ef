"""The OpenAPI schema is one that other programs can use: a linter finds nothing, and generated clients work."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from project.local.stack import ROOT
from tests.contract.toolbox import NPM_PACKAGES, PYTHON_PACKAGES, Toolbox
from tests.integration.fuzzing.contents import PASSWORD
from tests.integration.gunicorn_server import Web

pytestmark = [pytest.mark.integration, pytest.mark.heavy, pytest.mark.timeout(300)]

HERE = Path(__file__).parent
CLIENT = "vazifa_client"


@pytest.fixture
def address(service: Web) -> str:
    """The service's address."""
    return str(service.client.base_url).rstrip("/")


@pytest.fixture
def schema(address: str) -> str:
    """The address of the OpenAPI schema."""
    return f"{address}/api/schema/"


def run(*command: str | Path, directory: Path, **variables: str) -> str:
    """Run a program; return what it printed."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=directory,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("package", [*NPM_PACKAGES[1:3], *PYTHON_PACKAGES])
def test_the_page_for_clients_names_the_versions_that_are_tested(package: str) -> None:
    assert package in (ROOT / "docs/api.md").read_text("utf-8")


def test_the_linter_finds_nothing(toolbox: Toolbox, schema: str, tmp_path: Path) -> None:
    report = run(
        *(toolbox.npm("redocly"), "lint", schema, "--config", HERE / "redocly.yaml", "--format", "json"),
        directory=tmp_path,
        REDOCLY_TELEMETRY="off",
    )

    assert json.loads(report)["totals"] == {"errors": 0, "warnings": 0, "ignored": 0}, report


def test_a_client_of_openapi_python_client_works(toolbox: Toolbox, schema: str, address: str, tmp_path: Path) -> None:
    configuration = tmp_path / "configuration.yaml"
    configuration.write_text("post_hooks: []\n")
    generator = toolbox.python.with_name("openapi-python-client")
    options = ("--meta", "none", "--output-path", CLIENT, "--config", configuration, "--fail-on-warning")
    run(generator, "generate", "--url", schema, *options, directory=tmp_path)

    session = (toolbox.python, HERE / "session.py", address, PASSWORD)
    assert run(*session, directory=tmp_path, PYTHONPATH=str(tmp_path)).endswith("All as described.\n")


def test_a_client_of_openapi_typescript_works(toolbox: Toolbox, schema: str, address: str, tmp_path: Path) -> None:
    (tmp_path / "node_modules").symlink_to(toolbox.modules)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "session.ts").write_bytes((HERE / "session.ts").read_bytes())
    run(toolbox.npm("openapi-typescript"), schema, "--output", "vazifa.d.ts", directory=tmp_path)
    options = ("--strict", "--noEmitOnError", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom")
    run(toolbox.npm("tsc"), *options, "session.ts", directory=tmp_path)

    session = ("node", "session.js", address, PASSWORD)
    assert run(*session, directory=tmp_path).endswith("All as described.\n")
