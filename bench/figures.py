"""A measured figure, its target and the verdict; and the table of them."""

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of the table."""

    name: str

    value: float

    unit: str

    rounds: Sequence[float] = ()
    """What the value is the median of."""

    at_least: float | None = None

    at_most: float | None = None

    remark: str = ""

    @property
    def verdict(self) -> str:
        if self.at_least is None and self.at_most is None:
            return ""
        is_met = (self.at_least is None or self.value >= self.at_least) and (
            self.at_most is None or self.value <= self.at_most
        )
        return "met" if is_met else "MISSED"

    @property
    def target(self) -> str:
        if self.at_least is not None:
            return f"≥ {number(self.at_least)}"
        return f"≤ {number(self.at_most)}" if self.at_most is not None else "–"

    @property
    def spread(self) -> str:
        return f"{number(min(self.rounds))} … {number(max(self.rounds))}" if len(self.rounds) > 1 else ""

    def cells(self) -> list[str]:
        return [self.name, f"{number(self.value)} {self.unit}".strip(), self.spread, self.target, self.verdict]


def median_of(rounds: Sequence[float]) -> float:
    return statistics.median(rounds)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value that `percent` of all values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as a Markdown table, with the remarks beneath it."""
    rows = [["figure", "median", "rounds", "target", "verdict"], *(figure.cells() for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    lines.insert(1, "|-" + "-|-".join("-" * width for width in widths) + "-|")
    return "\n".join([*lines, "", *(f"- {figure.name}: {figure.remark}" for figure in figures if figure.remark)])


def machine() -> str:
    """Say what it was measured on, and how busy that was."""
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, load average {load}"
