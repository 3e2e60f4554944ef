"""A measured figure, its goal, its floor and the verdict; and the table of them."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of the table."""

    name: str

    rounds: Sequence[float]
    """What was measured, once a round; the figure is their median."""

    unit: str = ""

    goal: float | None = None
    """What is aimed at, and what must not be missed; which of the two is the greater says which way is better."""

    floor: float | None = None

    remark: str = ""

    @property
    def value(self) -> float:
        return statistics.median(self.rounds)

    @property
    def verdict(self) -> str:
        if self.goal is None or self.floor is None:
            return ""
        sign = 1 if self.goal > self.floor else -1
        if self.value * sign >= self.goal * sign:
            return "goal"
        return "floor" if self.value * sign >= self.floor * sign else "MISSED"

    @property
    def spread(self) -> str:
        return f"{number(min(self.rounds))} … {number(max(self.rounds))}" if len(self.rounds) > 1 else ""

    def cells(self) -> list[str]:
        wanted = [self._wanted(self.goal), self._wanted(self.floor)]
        return [self.name, f"{number(self.value)} {self.unit}".strip(), self.spread, *wanted, self.verdict]

    def _wanted(self, value: float | None) -> str:
        if value is None or self.goal is None or self.floor is None:
            return ""
        return f"{'≥' if self.goal > self.floor else '≤'} {number(value)}"


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return ours by theirs, round by round."""
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def beside(  # noqa: PLR0913 – one line each of a table
    name: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    unit: str,
    *,
    goal: float | None = None,
    floor: float | None = None,
    remark: str = "",
) -> Figure:
    """Return the ratio of two series, round by round; the remark says the medians of both, in `unit`."""
    both = f"{number(statistics.median(ours))} and {number(statistics.median(theirs))} {unit}"
    return Figure(
        name=name,
        rounds=ratios(ours, theirs),
        unit="×",
        goal=goal,
        floor=floor,
        remark="; ".join(part for part in (both, remark) if part),
    )


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value that `percent` of all values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as a Markdown table, with the remarks beneath it."""
    rows = [["figure", "median", "rounds", "goal", "floor", "verdict"], *(figure.cells() for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    lines.insert(1, "|-" + "-|-".join("-" * width for width in widths) + "-|")
    return "\n".join([*lines, "", *(f"- {figure.name}: {figure.remark}" for figure in figures if figure.remark)])
