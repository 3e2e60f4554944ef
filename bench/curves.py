"""Throughput and lateness against clients, rows and backlog, as charts in docs/scale; and what one create costs."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TypeVar

from bench import cost, load
from bench.charts import Chart, draw
from bench.create import Creates, create, create_more
from bench.figures import Figure
from bench.ground import Ground, Running
from bench.grown import grown
from bench.messages import owe
from bench.sites import LESSON, OURS
from bench.sizes import Extent
from bench.turns import in_turns

Measured = TypeVar("Measured")

CLIENT_STEPS = (1, 2, 4, 8, 16, 32)
ROW_STEPS = (0, 10_000, 100_000, 1_000_000)
# A turn; a point of a curve is the median of its turns.
CREATES, TURNS = 150, 3
WARM_UP = 100
READ_SECONDS = 2.0


def measure(ground: Ground, extent: Extent) -> list[Figure]:
    figures = cost.measure(ground)
    for curve in (_clients, _rows, _backlog):
        chart = curve(ground)
        draw(chart)
        figures += _ends(chart)
    return figures


def _clients(ground: Ground) -> Chart:
    names = [OURS, LESSON]
    with ground.webs(names) as webs:

        def at(point: tuple[str, int]) -> Creates:
            name, clients = point
            return create(ground, ground.site(name), webs[name], requests=CREATES, clients=clients)

        measured = in_turns([(name, clients) for clients in CLIENT_STEPS for name in names], TURNS, at)
    curves = {name: [measured[name, clients] for clients in CLIENT_STEPS] for name in names}
    return _chart("clients", "Creates, by how many clients there are", "clients", CLIENT_STEPS, curves)


def _rows(ground: Ground) -> Chart:
    sites = {rows: grown(ground, rows) for rows in ROW_STEPS}
    with ExitStack() as stack:
        webs = {rows: stack.enter_context(ground.web(site, f"web-{rows}")) for rows, site in sites.items()}

        def at(rows: int, requests: int = CREATES) -> Creates:
            ground.empty_messages(sites[rows])
            return create_more(ground, sites[rows], webs[rows], requests=requests)

        for rows in ROW_STEPS:
            at(rows, WARM_UP)
        reads = in_turns(ROW_STEPS, TURNS, lambda rows: _first_pages(webs[rows]))
        creates = in_turns(ROW_STEPS, TURNS, at)
    curves: dict[str, list[list[Creates]]] = {"creates": list(creates.values())}
    chart = _chart("rows", "Creates and first pages, by how many tasks there are", "tasks", ROW_STEPS, curves)
    pages = {"first pages": list(reads.values())}
    return replace(
        chart,
        per_second={**chart.per_second, **_medians(pages, lambda answers: answers.per_second)},
        p99_ms={**chart.p99_ms, **_medians(pages, lambda answers: answers.ms(99))},
    )


def _first_pages(web: Running) -> load.Answers:
    asked = (load.get(web.port, "/tasks/"),)
    return load.run(load.Load(port=web.port, requests=asked, total=500, max_seconds=READ_SECONDS))


def _backlog(ground: Ground) -> Chart:
    """Create while RabbitMQ is away and so many messages wait already."""
    per_second, p99_ms = [], []
    with ground.web(ground.ours) as web:
        create(ground, ground.ours, web, requests=WARM_UP)
        ground.empty(ground.ours)
        ground.servers.rabbitmq.stop()
        try:
            for waiting in ROW_STEPS:
                answers = _with_backlog(ground, web, waiting)
                per_second.append(answers.per_second)
                p99_ms.append(answers.ms(99))
        finally:
            ground.database().execute("TRUNCATE outbox_outboxmessage, tasks_task")
            ground.servers.rabbitmq.start()
    return Chart(
        name="backlog",
        title="Creates while RabbitMQ is away, by how many messages wait for it",
        against="messages that wait",
        steps=ROW_STEPS,
        per_second={OURS: per_second},
        p99_ms={OURS: p99_ms},
    )


def _with_backlog(ground: Ground, web: Running, waiting: int) -> load.Answers:
    ground.database().execute("TRUNCATE outbox_outboxmessage, tasks_task")
    owe(ground, waiting)
    total = TURNS * CREATES
    answers = load.run(load.Load(port=web.port, requests=(load.post(web.port),), total=total))
    if (found := ground.awaiting()) != waiting + total:
        raise RuntimeError(f"{waiting} messages waited, {total} tasks were created, and {found} wait now")
    return answers


def _chart(
    name: str, title: str, against: str, steps: Sequence[int], curves: Mapping[str, Sequence[Sequence[Creates]]]
) -> Chart:
    return Chart(
        name=name,
        title=title,
        against=against,
        steps=steps,
        per_second=_medians(curves, lambda creates: creates.per_second),
        p99_ms=_medians(curves, lambda creates: creates.p99_ms),
    )


def _medians(
    curves: Mapping[str, Sequence[Sequence[Measured]]], of: Callable[[Measured], float]
) -> dict[str, list[float]]:
    """Return of each curve the median of each point's turns."""
    return {who: [statistics.median(map(of, turns)) for turns in points] for who, points in curves.items()}


def _ends(chart: Chart) -> list[Figure]:
    first, last = f"{chart.steps[0]:,}", f"{chart.steps[-1]:,}"
    return [
        Figure(
            name=f"{chart.title} ({who}): a second at {last}, of that at {first}",
            rounds=[values[-1] / values[0]],
            unit="×",
            remark=f"docs/scale/{chart.name}.svg; "
            + ", ".join(f"{step:,}: {value:.0f}" for step, value in zip(chart.steps, values, strict=True)),
        )
        for who, values in chart.per_second.items()
    ]
