"""How long a committed message takes to RabbitMQ: from PostgreSQL's time of the commit to a consumer's hands."""

import threading
import time
from typing import Any

from bench.figures import Figure, percentile
from bench.ground import QUEUE, Ground
from bench.load import at_rate
from project.servers.process import wait_until

PER_SECOND = 50
SECONDS = 20
ARRIVAL_TIMEOUT_SECONDS = 30.0

COMMITS = "SELECT id, extract(epoch FROM pg_xact_commit_timestamp(xmin)) FROM tasks_task"


def measure(ground: Ground) -> list[Figure]:
    with ground.web() as web:
        at_rate(web.port, per_second=PER_SECOND, seconds=2)
        wait_until(lambda: ground.awaiting() == 0, timeout_seconds=ARRIVAL_TIMEOUT_SECONDS)
        ground.empty()
        with Arrivals(ground) as arrivals:
            created = len(at_rate(web.port, per_second=PER_SECOND, seconds=SECONDS))
            wait_until(lambda: len(arrivals.times) >= created, timeout_seconds=ARRIVAL_TIMEOUT_SECONDS)
    committed = {f"task:{task_id}": float(moment) for task_id, moment in ground.database.execute(COMMITS).fetchall()}
    if committed.keys() != arrivals.times.keys():
        raise RuntimeError(f"{len(committed)} were committed, {len(arrivals.times)} arrived")
    took_ms = [(arrivals.times[subject] - moment) * 1000 for subject, moment in committed.items()]
    return [
        Figure(name=f"commit → in RabbitMQ, p{percent}", value=percentile(took_ms, percent), unit="ms", at_most=target)
        for percent, target in ((50, 15.0), (99, 60.0))
    ] + [
        Figure(
            name="commit → in RabbitMQ, the slowest",
            value=max(took_ms),
            unit="ms",
            remark=f"{created} creates, {PER_SECOND} a second",
        )
    ]


class Arrivals:
    """A consumer that remembers when what came, by its subject."""

    def __init__(self, ground: Ground) -> None:
        self.times: dict[str, float] = {}
        self._ground = ground
        self._stop = threading.Event()
        self._consumes = threading.Event()
        self._thread = threading.Thread(target=self._consume)

    def __enter__(self) -> "Arrivals":
        self._thread.start()
        self._consumes.wait()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _consume(self) -> None:
        with self._ground.channel() as channel:
            channel.basic_consume(QUEUE, self._on_message, auto_ack=True)
            self._consumes.set()
            while not self._stop.is_set():
                channel.connection.process_data_events(time_limit=0.5)
            channel.close()

    def _on_message(self, _channel: Any, _method: Any, properties: Any, _body: bytes) -> None:
        self.times.setdefault(properties.headers["subject"], time.time())
