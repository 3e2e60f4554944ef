"""Dramatiq's own tests pass with the outbox's brokers, but for those that `differences.toml` lists."""

from pathlib import Path

import pytest

from project.local.stack import ROOT
from tests.compat.differences import KINDS, count, find_problems, read_differences
from tests.compat.runs import NOT_RUN, PASSED, RUN_TIMEOUT_SECONDS, SUITES, Run
from tests.compat.sdist import unpack_tests

pytestmark = [pytest.mark.integration, pytest.mark.heavy, pytest.mark.timeout(RUN_TIMEOUT_SECONDS)]


def test_every_module_is_run_or_left_out_on_purpose(sdist: Path, tmp_path: Path) -> None:
    unpack_tests(sdist, tmp_path / "tests")
    modules = {path.stem for path in (tmp_path / "tests").glob("test_*.py")}
    assert modules == {*NOT_RUN, *(module for suite in SUITES.values() for module in suite.modules)}


@pytest.mark.parametrize("suite", SUITES)
def test_dramatiqs_own_tests_pass_but_for_those_that_are_listed(
    runs: dict[str, Run], suite: str, report: list[str]
) -> None:
    outcomes = runs[suite].outcomes()
    known = [each for each in read_differences() if suite in each.suites]
    counts = count(outcomes, known)
    report.append(f"{suite}: {', '.join(f'{number} {kind}' for kind, number in counts.items())} of {len(outcomes)}")

    assert find_problems(outcomes, known) == [], f"see {runs[suite].log}"
    row = " | ".join(str(counts[kind]) for kind in (PASSED, *KINDS))
    assert f"| {suite} | {row} |" in (ROOT / "docs/compatibility.md").read_text("utf-8")
