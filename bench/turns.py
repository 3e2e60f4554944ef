"""Rounds: everybody in turns, each round another one first, so that a busier minute is nobody's alone."""

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)
Measured = TypeVar("Measured")


def in_turns(names: Sequence[Name], rounds: int, measure: Callable[[Name], Measured]) -> dict[Name, list[Measured]]:
    """Measure each name once a round; return its rounds."""
    measured: dict[Name, list[Measured]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in [*names[first:], *names[:first]]:
            measured[name].append(measure(name))
    return measured
