"""A transfer has a least rate: progress gives time, and no time is saved for a halt."""

import pytest

from project.web_server.pace import MIN_BYTES_PER_SECOND, Pace

GRACE = 10.0


def verdicts(*steps: tuple[float, int]) -> list[bool]:
    """Return whether a transfer that began at 100 was too slow at each step, a time and all bytes until then."""
    pace = Pace(100.0, grace=GRACE, done=5)
    return [pace.is_too_slow(100.0 + seconds, 5 + done) for seconds, done in steps]


def test_a_halt_is_too_slow_after_the_grace() -> None:
    assert verdicts((9.9, 0), (10.1, 0)) == [False, True]


def test_a_byte_now_and_then_gives_no_time() -> None:
    assert verdicts(*((5.0 * step, step) for step in range(1, 4))) == [False, False, True]


def test_the_least_rate_is_never_too_slow() -> None:
    assert not any(verdicts(*((second, second * MIN_BYTES_PER_SECOND) for second in range(1, 1_000))))
    assert not any(verdicts(*((9.0 * step, int(9.0 * step * MIN_BYTES_PER_SECOND)) for step in range(1, 1_000))))


@pytest.mark.parametrize("begun", [1_000, 10**9])
def test_a_quick_beginning_does_not_pay_for_a_halt(begun: int) -> None:
    assert verdicts((0.1, begun), (9.9, begun), (10.2, begun)) == [False, False, True]


def test_what_the_kernel_took_before_counts_for_nothing() -> None:
    pace = Pace(0.0, grace=GRACE, done=-1_000_000)  # a megabyte is on its way

    assert not pace.is_too_slow(9.0, -999_000)
    assert pace.is_too_slow(11.0, -999_000)
