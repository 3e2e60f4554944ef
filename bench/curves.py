"""Throughput and p99 against clients, rows and backlog: charts in docs/scale, and the ends of each curve as figures.

The SVG files are the same for the same numbers: no date, no random ids, no paths of a machine.
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure as Chart

from bench import load
from bench.create import create
from bench.figures import Figure, in_turns
from bench.ground import Ground
from bench.grown import grown
from bench.peers.site import LESSON
from bench.relay import owe
from bench.sites import OURS
from project.local.stack import ROOT

DIRECTORY = ROOT / "docs" / "scale"
STYLE: Any = {"svg.hashsalt": "vazifa", "svg.fonttype": "none", "axes.grid": True, "grid.alpha": 0.3, "font.size": 9}

CLIENT_STEPS = (1, 2, 4, 8, 16, 32)
ROW_STEPS = (0, 10_000, 100_000, 1_000_000)
# A turn; a point of a curve is the median of its turns.
CREATES, TURNS = 150, 3
WARM_UP = 100
READS, READ_SECONDS = 500, 2.0

Curves = Mapping[str, Sequence[Sequence[load.Answers]]]
"""Of each that was measured, the turns of each step."""


def measure(ground: Ground) -> list[Figure]:
    return [*_by_clients(ground), *_by_rows(ground), *_by_backlog(ground)]


def _by_clients(ground: Ground) -> list[Figure]:
    sites = {name: ground.site(name) for name in (OURS, LESSON)}
    points = [(name, clients) for clients in CLIENT_STEPS for name in sites]
    with ground.webs(sites) as webs:

        def at(point: tuple[str, int]) -> load.Answers:
            name, clients = point
            return create(ground, sites[name], webs[name], requests=CREATES, clients=clients)

        turns = in_turns(points, TURNS, at)
    curves = {name: [turns[name, clients] for clients in CLIENT_STEPS] for name in sites}
    return _drawn("clients", "Creates, by how many clients there are", "clients", CLIENT_STEPS, curves)


def _by_rows(ground: Ground) -> list[Figure]:
    sites = {rows: grown(ground, rows) for rows in ROW_STEPS}
    with ground.webs(sites) as webs:

        def creates(rows: int, requests: int = CREATES) -> load.Answers:
            return create(ground, sites[rows], webs[rows], requests=requests)

        def first_pages(rows: int) -> load.Answers:
            return load.run(webs[rows].port, [load.get("/tasks/")], total=READS, max_seconds=READ_SECONDS)

        for rows in ROW_STEPS:
            creates(rows, WARM_UP)
        pages = in_turns(ROW_STEPS, TURNS, first_pages)
        curves = {"creates": list(in_turns(ROW_STEPS, TURNS, creates).values()), "first pages": list(pages.values())}
    return _drawn("rows", "Creates and first pages, by how many tasks there are", "tasks", ROW_STEPS, curves)


def _by_backlog(ground: Ground) -> list[Figure]:
    """Create while RabbitMQ is away and so many messages wait already."""

    def at(port: int, waiting: int) -> load.Answers:
        ground.database().execute("TRUNCATE outbox_outboxmessage, tasks_task")
        owe(ground, waiting)
        answers = load.create(port, TURNS * CREATES)
        if (found := ground.awaiting()) != waiting + TURNS * CREATES:
            raise RuntimeError(f"{waiting} messages waited, {TURNS * CREATES} were added, and {found} wait now")
        return answers

    with ground.web(ground.ours) as web:
        create(ground, ground.ours, web, requests=WARM_UP)
        ground.servers.rabbitmq.stop()
        try:
            curves = {OURS: [[at(web.port, waiting)] for waiting in ROW_STEPS]}
        finally:
            ground.database().execute("TRUNCATE outbox_outboxmessage, tasks_task")
            ground.servers.rabbitmq.start()
    title = "Creates while RabbitMQ is away, by how many messages wait for it"
    return _drawn("backlog", title, "messages that wait", ROW_STEPS, curves)


def _drawn(name: str, title: str, against: str, steps: Sequence[int], curves: Curves) -> list[Figure]:
    """Write the chart, and return of each curve its last step, of its first."""
    per_second = {who: _medians(points, "per_second") for who, points in curves.items()}
    p99_ms = {who: _medians(points, "p99_ms") for who, points in curves.items()}
    marks = [f"{step:,}" for step in steps]
    with mpl.rc_context(STYLE):
        chart = Chart(figsize=(9, 3.2), layout="constrained")
        chart.suptitle(title)
        for side, label, lines in zip(chart.subplots(1, 2), ("a second", "p99, ms"), (per_second, p99_ms), strict=True):
            for who, values in lines.items():
                side.plot(range(len(steps)), values, marker="o", label=who)
            # Each step is as far from the next: there may be a 0, and the others multiply.
            side.set_xticks(range(len(steps)), marks)
            side.set(xlabel=against, ylabel=label, ylim=(0, None))
            side.legend()
        chart.savefig(DIRECTORY / f"{name}.svg", metadata={"Date": None, "Creator": None})
    return [
        Figure(
            name=f"{title} ({who}): a second at {marks[-1]}, of that at {marks[0]}",
            rounds=[values[-1] / values[0]],
            remark=f"docs/scale/{name}.svg; "
            + ", ".join(f"{mark}: {value:.0f}" for mark, value in zip(marks, values, strict=True)),
        )
        for who, values in per_second.items()
    ]


def _medians(points: Sequence[Sequence[load.Answers]], attribute: str) -> list[float]:
    return [statistics.median(getattr(answers, attribute) for answers in turns) for turns in points]
