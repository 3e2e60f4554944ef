"""Judges a run of Dramatiq's tests: those that fail have to be those that `differences.toml` lists, with the reason.

Tests that are `timed` demand durations that a busy machine exceeds, whatever the broker: they may fail.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.compat.runs import FAILED, PASSED

TABLE = Path(__file__).with_name("differences.toml")
REFUSED, INTERNALS, TIMED = KINDS = ("refused", "internals", "timed")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Tests of Dramatiq that fail for one reason."""

    suites: tuple[str, ...]

    kind: str
    """`refused` on purpose, a test that reaches into `internals`, or `timed`."""

    reason: str

    tests: tuple[str, ...]
    """Each `module::name`, for all its parameters, or `module::name[parameters]`."""

    documented: str = ""
    """The page that says so; of a refusal."""

    def covers(self, test: str) -> bool:
        return test in self.tests or test.partition("[")[0] in self.tests


def read_differences(table: Path = TABLE) -> list[Difference]:
    """Return the differences that are known."""
    entries = tomllib.loads(table.read_text("utf-8"))["difference"]
    return [
        Difference(**{**entry, "suites": tuple(entry["suites"]), "tests": tuple(entry["tests"])}) for entry in entries
    ]


def find_problems(outcomes: Mapping[str, str], differences: Sequence[Difference]) -> list[str]:
    """Return what contradicts the table, a sentence each."""
    problems = []
    for test, outcome in sorted(outcomes.items()):
        kinds = {each.kind for each in differences if each.covers(test)}
        if outcome == FAILED and not kinds:
            problems.append(f"{test} fails, and is not listed in {TABLE.name}: a difference that no page mentions.")
        if outcome == PASSED and kinds - {TIMED}:
            problems.append(f"{test} passes: remove it from {TABLE.name}.")
    listed = {test for each in differences for test in each.tests}
    known = {*outcomes, *(test.partition("[")[0] for test in outcomes)}
    return problems + [f"{test} is listed in {TABLE.name}, and Dramatiq has no such test." for test in listed - known]


def count(outcomes: Mapping[str, str], differences: Sequence[Difference]) -> dict[str, int]:
    """Return how many tests passed, and how many are listed for a reason of each kind."""
    kinds = [next((each.kind for each in differences if each.covers(test)), outcomes[test]) for test in outcomes]
    return {kind: kinds.count(kind) for kind in (PASSED, *KINDS)}
