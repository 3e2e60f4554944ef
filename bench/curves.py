"""Throughput and lateness against clients, rows and backlog, as charts in docs/scale; and what one create costs."""

from collections.abc import Callable, Sequence

from bench import cost, load
from bench.charts import Chart, draw
from bench.create import Creates, create, create_more
from bench.figures import Figure
from bench.ground import Ground, Running
from bench.grown import grown
from bench.messages import owe
from bench.sites import LESSON, OURS
from bench.sizes import CLIENTS, Extent

CLIENT_STEPS = (1, 2, 4, 8, 16, 32)
ROW_STEPS = (0, 10_000, 100_000, 1_000_000)
CREATES = 500
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

        def at(name: str, clients: int) -> Creates:
            return create(ground, ground.site(name), webs[name], requests=CREATES, clients=clients)

        measured: dict[str, list[Creates]] = {name: [] for name in names}
        for clients in CLIENT_STEPS:
            for name in names:
                measured[name].append(at(name, clients))
    return _chart("clients", "Creates, by how many clients there are", "clients", CLIENT_STEPS, measured)


def _rows(ground: Ground) -> Chart:
    measured: dict[str, list[Creates]] = {"creates": []}
    reads: list[load.Answers] = []
    for rows in ROW_STEPS:
        site = grown(ground, rows)
        with ground.web(site) as web:
            ground.empty_messages(site)
            create_more(ground, site, web, requests=WARM_UP)
            reads.append(_first_pages(web))
            ground.empty_messages(site)
            measured["creates"].append(create_more(ground, site, web, requests=CREATES))
            ground.empty_messages(site)
    chart = _chart("rows", "Creates and first pages, by how many tasks there are", "tasks", ROW_STEPS, measured)
    per_second = {**chart.per_second, "first pages": [each.per_second for each in reads]}
    p99_ms = {**chart.p99_ms, "first pages": [each.ms(99) for each in reads]}
    return Chart(
        name=chart.name, title=chart.title, against="tasks", steps=ROW_STEPS, per_second=per_second, p99_ms=p99_ms
    )


def _first_pages(web: Running) -> load.Answers:
    asked = (load.get(web.port, "/tasks/"),)
    return load.run(
        load.Load(port=web.port, requests=asked, total=2_000, clients=CLIENTS, at_most_seconds=READ_SECONDS)
    )


def _backlog(ground: Ground) -> Chart:
    """Create while RabbitMQ is away and so many messages wait already."""
    per_second, p99_ms = [], []
    with ground.web(ground.ours) as web:
        create(ground, ground.ours, web, requests=WARM_UP)
        ground.empty(ground.ours)
        ground.rabbitmq.stop()
        try:
            for waiting in ROW_STEPS:
                answers = _with_backlog(ground, web, waiting)
                per_second.append(answers.per_second)
                p99_ms.append(answers.ms(99))
        finally:
            ground.database().execute("TRUNCATE outbox_outboxmessage, tasks_task")
            ground.rabbitmq.start()
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
    answers = load.run(load.Load(port=web.port, requests=(load.post(web.port),), total=CREATES, clients=CLIENTS))
    if (found := ground.awaiting()) != waiting + CREATES:
        raise RuntimeError(f"{waiting} messages waited, {CREATES} tasks were created, and {found} wait now")
    return answers


def _chart(name: str, title: str, against: str, steps: Sequence[int], measured: dict[str, list[Creates]]) -> Chart:
    def each(attribute: Callable[[Creates], float]) -> dict[str, list[float]]:
        return {who: [attribute(one) for one in values] for who, values in measured.items()}

    return Chart(
        name=name,
        title=title,
        against=against,
        steps=steps,
        per_second=each(lambda one: one.per_second),
        p99_ms=each(lambda one: one.p99_ms),
    )


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
