"""The pre-commit hook and CI run the commands of the Makefile and `.ci/run`, and no others."""

import os
import re
import tomllib
from typing import Any

import yaml

from project.local.stack import ROOT

WORKFLOW: dict[Any, Any] = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
[JOB] = WORKFLOW["jobs"].values()
HOOKS: list[dict[str, Any]] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
PINNED = re.compile(r"[\w-]+/[\w-]+@(v[1-9]\d*|[0-9a-f]{40})")


def test_the_workflow_runs_what_anybody_can_run() -> None:
    assert [step["run"] for step in JOB["steps"] if "run" in step] == [".ci/run"]
    assert os.access(ROOT / ".ci/run", os.X_OK)


def test_the_workflow_begins_with_the_oldest_python_supported() -> None:
    oldest = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")

    assert JOB["strategy"]["matrix"]["python"] == [oldest, "3.13"]


def test_the_python_of_the_matrix_is_the_one_that_is_tested() -> None:
    [version] = [step["with"]["python-version"] for step in JOB["steps"] if "setup-python" in step.get("uses", "")]

    assert version == "${{ matrix.python }}"
    assert 'make() { command make PYTHON=python3 "$@"; }\n' in (ROOT / ".ci/run").read_text()


def test_ci_has_the_code_of_the_previous_release() -> None:
    [history] = [step["with"]["fetch-depth"] for step in JOB["steps"] if "checkout" in step.get("uses", "")]

    assert history == 0
    assert "git fetch --quiet --unshallow" in (ROOT / ".ci/run").read_text()


def test_the_workflow_may_only_read() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert "permissions" not in JOB


def test_every_action_is_pinned() -> None:
    assert all(PINNED.fullmatch(step["uses"]) for step in JOB["steps"] if "uses" in step)


def test_every_hook_is_a_target_of_the_makefile() -> None:
    hooks = [hook for repository in HOOKS for hook in repository["hooks"]]

    assert {repository["repo"] for repository in HOOKS} == {"local"}
    assert {hook["language"] for hook in hooks} == {"system"}
    assert [hook["entry"] for hook in hooks] == ["make lint"]


def test_ci_checks_what_a_commit_is_checked_for() -> None:
    assert "\nmake lint\n" in (ROOT / ".ci/run").read_text()
