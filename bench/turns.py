"""Rounds: everybody in turns, each round another one first, so that a busier minute is nobody's alone."""

from collections.abc import Callable, Sequence
from typing import TypeVar

Measured = TypeVar("Measured")


def in_turns(names: Sequence[str], rounds: int, measure: Callable[[str], Measured]) -> dict[str, list[Measured]]:
    """Measure each name once a round; return its rounds."""
    measured: dict[str, list[Measured]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in [*names[first:], *names[:first]]:
            measured[name].append(measure(name))
    return measured
