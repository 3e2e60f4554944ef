"""Runs rounds in which each name is measured once; the first place rotates, so that a busy minute hits all alike."""

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
