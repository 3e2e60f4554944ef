"""Curves as SVG files that are the same for the same numbers: no date, no random ids, no paths of a machine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

from project.local.stack import ROOT

DIRECTORY = ROOT / "docs" / "scale"
STYLE: Any = {"svg.hashsalt": "vazifa", "svg.fonttype": "none", "axes.grid": True, "grid.alpha": 0.3, "font.size": 9}


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Throughput and lateness against something, one line for each who was measured."""

    name: str
    """Of the file."""

    title: str

    against: str

    steps: Sequence[int]
    """Of that, each as far from the next: there may be a 0, and the others multiply."""

    per_second: Mapping[str, Sequence[float]]

    p99_ms: Mapping[str, Sequence[float]]


def draw(chart: Chart) -> Path:
    """Write the chart and return its file."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    file = DIRECTORY / f"{chart.name}.svg"
    with mpl.rc_context(STYLE):
        figure, sides = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
        for side, label, curves in zip(sides, ("a second", "p99, ms"), (chart.per_second, chart.p99_ms), strict=True):
            for name, values in curves.items():
                side.plot(range(len(chart.steps)), values, marker="o", label=name)
            side.set_xticks(range(len(chart.steps)), [f"{step:,}" for step in chart.steps])
            side.set(xlabel=chart.against, ylabel=label, ylim=(0, None))
            side.legend()
        figure.suptitle(chart.title)
        figure.savefig(file, metadata={"Date": None, "Creator": None})
        plt.close(figure)
    return file
