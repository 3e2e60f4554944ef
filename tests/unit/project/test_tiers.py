"""Each test is run by either `make test` or `make test-heavy`."""

import re
import shlex
import subprocess
import sys

import pytest

from project.local.stack import ROOT
from tests.chaos.conftest import IN_EVERY_RUN

PYTEST_LINE = re.compile(r"^(?P<target>[a-z-]+):.*\n\t\$\(BIN\)/pytest (?P<arguments>.*)$", re.MULTILINE)


def arguments_by_target() -> dict[str, list[str]]:
    lines = PYTEST_LINE.finditer((ROOT / "Makefile").read_text("utf-8"))
    return {line["target"]: shlex.split(line["arguments"]) for line in lines}


def start_collection(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def collected(collection: subprocess.Popen[str]) -> tuple[set[str], int]:
    """Return the tests that were selected, and of how many."""
    output, _ = collection.communicate()
    chosen = {line for line in output.splitlines() if "::" in line}
    summary = re.search(r"^(\d+)/(\d+) tests collected", output, re.MULTILINE)
    assert summary, output
    assert len(chosen) == int(summary[1])
    return chosen, int(summary[2])


@pytest.mark.heavy
def test_each_test_runs_in_one_of_the_two_tiers() -> None:
    arguments = arguments_by_target()
    selections = [start_collection(*arguments[target]) for target in ("test", "test-heavy")]
    (light, total), (heavy, same_total) = map(collected, selections)

    assert light & heavy == set()
    assert len(light) + len(heavy) == total == same_total
    # They are marked by a hook, which must come before `-m` chooses.
    assert {test.partition("::")[2] for test in light if test.startswith("tests/chaos/")} == IN_EVERY_RUN


def test_ci_runs_both_tiers() -> None:
    lines = (ROOT / ".ci/run").read_text("utf-8").splitlines()

    assert {"make test", "make test-heavy"} <= set(lines)
