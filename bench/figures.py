"""A measured figure, its goal, its floor and the verdict; the rounds that it comes from, and the table of them."""

import statistics
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)
Measured = TypeVar("Measured")

Wanted = tuple[float, float]
"""What is aimed at, and what must not be missed; which of the two is the greater says which way is better."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of the table."""

    name: str
    rounds: Sequence[float]
    """What was measured, once a round; the figure is their median."""
    unit: str = "×"
    wanted: Wanted | None = None
    remark: str = ""

    @property
    def verdict(self) -> str:
        if self.wanted is None:
            return ""
        goal, floor = self.wanted
        value, sign = statistics.median(self.rounds), 1 if goal > floor else -1
        if value * sign >= goal * sign:
            return "goal"
        return "floor" if value * sign >= floor * sign else "MISSED"

    def cells(self) -> list[str]:
        spread = f"{number(min(self.rounds))} … {number(max(self.rounds))}" if len(self.rounds) > 1 else ""
        wanted = ["", ""]
        if self.wanted is not None:
            sign = "≥" if self.wanted[0] > self.wanted[1] else "≤"
            wanted = [f"{sign} {number(value)}" for value in self.wanted]
        return [self.name, f"{number(statistics.median(self.rounds))} {self.unit}", spread, *wanted, self.verdict]


def in_turns(names: Sequence[Name], rounds: int, measure: Callable[[Name], Measured]) -> dict[Name, list[Measured]]:
    """Measure each name once a round and return its rounds; the first place rotates, so that a busy minute hits all."""
    measured: dict[Name, list[Measured]] = {name: [] for name in names}
    for round_ in range(rounds):
        first = round_ % len(names)
        for name in [*names[first:], *names[:first]]:
            measured[name].append(measure(name))
    return measured


def ratio(  # noqa: PLR0913 – one line each of a table
    name: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    unit: str,
    *,
    wanted: Wanted | None = None,
    remark: str = "",
) -> Figure:
    """Return the ratio of two series, round by round; the remark says the medians of both, in `unit`."""
    both = f"{number(statistics.median(ours))} and {number(statistics.median(theirs))} {unit}".strip()
    rounds = [one / other for one, other in zip(ours, theirs, strict=True)]
    return Figure(name=name, rounds=rounds, wanted=wanted, remark="; ".join(filter(None, (both, remark))))


def p99(values: Sequence[float]) -> float:
    """Return what 99 % of the values do not exceed."""
    return statistics.quantiles(values, n=100)[-1]


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as a Markdown table, with the remarks beneath it."""
    rows = [["figure", "median", "rounds", "goal", "floor", "verdict"], *(figure.cells() for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    lines.insert(1, "|-" + "-|-".join("-" * width for width in widths) + "-|")
    return "\n".join([*lines, "", *(f"- {figure.name}: {figure.remark}" for figure in figures if figure.remark)])
