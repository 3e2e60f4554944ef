"""The table of differences is judged both ways, and says what a reader needs."""

import pytest

from project.local.stack import ROOT
from tests.compat.differences import (
    INTERNALS,
    KINDS,
    REFUSED,
    TIMED,
    Difference,
    count,
    find_problems,
    read_differences,
)
from tests.compat.runs import FAILED, PASSED, SKIPPED, SUITES


def difference(*tests: str, kind: str = INTERNALS) -> Difference:
    return Difference(suites=("one",), kind=kind, reason="it is so", tests=tests)


@pytest.mark.parametrize(
    ("outcome", "listed", "kind", "problem"),
    [
        (FAILED, [], INTERNALS, "a::b[c] fails, and is not listed"),
        (FAILED, ["a::b"], INTERNALS, None),
        (FAILED, ["a::b[c]"], INTERNALS, None),
        (FAILED, ["a::b[d]"], INTERNALS, "a::b[c] fails, and is not listed"),
        (PASSED, [], INTERNALS, None),
        (PASSED, ["a::b"], INTERNALS, "a::b[c] passes: remove it"),
        (PASSED, ["a::b"], TIMED, None),
        (FAILED, ["a::b"], TIMED, None),
        (SKIPPED, [], INTERNALS, None),
        (SKIPPED, ["a::b"], INTERNALS, None),
        (PASSED, ["a::gone"], INTERNALS, "a::gone is listed in differences.toml, and Dramatiq has no such test"),
    ],
)
def test_what_contradicts_the_table_is_a_problem(
    outcome: str, listed: list[str], kind: str, problem: str | None
) -> None:
    problems = find_problems({"a::b[c]": outcome, "a::b[d]": SKIPPED}, [difference(*listed, kind=kind)])
    assert [each.startswith(problem or "no problem") for each in problems] == ([True] if problem else [])


def test_a_listed_test_counts_as_its_reason_s_kind() -> None:
    outcomes = {"a::b": PASSED, "a::c": FAILED, "a::d[1]": PASSED, "a::d[2]": FAILED, "a::e": SKIPPED}
    counts = count(outcomes, [difference("a::c"), difference("a::d", kind=TIMED)])
    assert counts == {PASSED: 1, **dict.fromkeys(KINDS, 0), INTERNALS: 1, TIMED: 2}


@pytest.mark.parametrize("each", read_differences(), ids=lambda each: each.tests[0])
def test_each_difference_has_a_reason_and_each_refusal_a_page(each: Difference) -> None:
    assert each.kind in KINDS
    assert each.reason
    assert set(each.suites) <= set(SUITES)
    assert (each.kind == REFUSED) == bool(each.documented)
    assert (ROOT / each.documented).exists()


def test_no_test_is_listed_twice_for_a_suite() -> None:
    listed = [(suite, test) for each in read_differences() for suite in each.suites for test in each.tests]
    assert sorted(set(listed)) == sorted(listed)
