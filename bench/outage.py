"""What a create costs while RabbitMQ is away, frozen or stopped, beside what it costs while RabbitMQ is there."""

from collections.abc import Callable

from bench import load
from bench.figures import Figure
from bench.ground import Ground
from bench.serve import beside

# A steady rate for the 99th percentile, as fast as the answers come for the rate: many short turns, since what else a
# machine does comes and goes within seconds.
PER_SECOND = 50
STEADY_CREATES, STEADY_ROUNDS = 5 * PER_SECOND, 2
FAST_CREATES, FAST_ROUNDS = 400, 4
WARM_UP = 100


def measure(ground: Ground) -> list[Figure]:
    node = ground.servers.rabbitmq
    with ground.web(ground.ours) as web:
        load.create(web.port, WARM_UP)
        return [
            *_measure(ground, web.port, "frozen", node.freeze, node.thaw),
            *_measure(ground, web.port, "stopped", node.stop, node.start),
        ]


def _measure(ground: Ground, port: int, away: str, begin: Callable[[], None], end: Callable[[], None]) -> list[Figure]:
    def take_turns(rounds: int, creates: int, per_second: float = 0) -> tuple[list[load.Answers], list[load.Answers]]:
        """Create while RabbitMQ is there and while it is away, in each round; all must be published afterwards."""
        present, absent = [], []
        for _ in range(rounds):
            ground.empty(ground.ours)
            present.append(load.create(port, creates, per_second=per_second))
            ground.wait_for_relay()
            begin()
            try:
                absent.append(load.create(port, creates, per_second=per_second))
            finally:
                end()
            ground.wait_for_relay()
            _verify(ground, 2 * creates)
        return absent, present

    steady = take_turns(STEADY_ROUNDS, STEADY_CREATES, PER_SECOND)
    fast = take_turns(FAST_ROUNDS, FAST_CREATES)
    creates = f"creates while RabbitMQ is {away}"
    return [
        beside("per_second", f"{creates}: a second, of those while it is there", *fast, (1.0, 0.9)),
        beside("p99_ms", f"{creates}: p99, of that while it is there", *steady, (1.0, 1.5)),
    ]


def _verify(ground: Ground, expected: int) -> None:
    sent = set(ground.ours.queue.take(expected))
    # A publish that was interrupted may have got through: once more is no loss, and a worker drops it.
    tasks = {task for (task,) in ground.rows("SELECT id FROM tasks_task")}
    if len(tasks) != expected or sent != tasks:
        raise RuntimeError(f"{expected} creates, {len(tasks)} tasks, messages of {len(sent)} tasks")
