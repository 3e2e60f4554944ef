"""A program with access to RabbitMQ, and none to the database, writes no history and holds up none."""

import json
from collections.abc import Iterator
from typing import Any

import pika
import pytest

from project.local.servers.rabbitmq import PrivateRabbitmq
from tests.integration.outbox.pool.process import Pool, Read, wait_for

pytestmark = [
    pytest.mark.integration,
    pytest.mark.parametrize(
        "database_url", [pytest.param("sqlite", marks=pytest.mark.heavy), "postgresql"], indirect=True
    ),
]

QUEUE = "activity"
# In two steps: RabbitMQ has the message of the first when the others are sent.
CREATE = """
from django.contrib.auth.models import User
from tasks.models import Task
Task.objects.create(title="true", owner=User.objects.create(username="user1"))
"""
CHANGE = "from tasks.models import Task; t = Task.objects.get(); t.title = 'truer'; t.save(); t.delete()"
DEAD = "SELECT reason FROM outbox_outboxmessage WHERE state = 'dead'"
HISTORY = "SELECT event, task_id, version, title FROM actors_activity ORDER BY version"


def forgeries(true: dict[str, Any]) -> Iterator[bytes]:
    """Yield what a program that reads and writes RabbitMQ makes of a true message of the first task's creation."""
    reference = true["options"]["outbox"]
    task = true["args"][0]
    event = {"owner_id": 1, "version": 1, "changes": {}}
    for options in ({}, {"outbox": None}, {"outbox": reference}, {"outbox": "999999:0"}, {"outbox": f"{10**20}:0"}):
        for actor in ("log_task_creation", "log_task_update", "log_task_deletion", "no_such_actor\n\x1b[2J"):
            for task_id, version in ((task, 1), (task, 2), (task + 1, 1)):
                args = [task_id, "forged", "user1", {**event, "version": version}]
                yield json.dumps({**true, "actor_name": actor, "args": args, "options": options}).encode()
    for options in (
        {"eta": 10**13},
        {"eta": 10**13, "outbox": reference},
        {"max_age": 1},
        {"max_age": 1, "outbox": reference},
        {"time_limit": "x", "throws": "ValueError", "outbox": reference},
        {"max_retries": [], "on_success": "log_task_creation", "pipe_target": {}, "outbox": reference},
    ):
        yield json.dumps({**true, "args": [task, "forged", "x"], "options": options, "message_timestamp": 1}).encode()
    yield json.dumps({**true, "kwargs": {"a\nb\x1b[2J": "forged"}}).encode()
    yield json.dumps({**true, "message_id": "m\0\ud800"}).encode()
    yield b"\xff\x00"


def take(channel: Any, queue: str) -> tuple[Any, bytes]:
    """Take a message and keep it from the workers."""
    taken: list[tuple[Any, ...]] = []

    def is_there() -> bool:
        taken.append(channel.basic_get(queue))
        return taken[-1][0] is not None

    wait_for(is_there)
    method, _properties, body = taken[-1]
    return method, body


def test_forged_messages_write_no_history_and_the_true_events_arrive(
    pool: Pool, rabbitmq: PrivateRabbitmq, read: Read
) -> None:
    queue = f"{pool.environment['QUEUE_PREFIX']}{QUEUE}"
    pool.manage("shell", "--no-imports", "-c", CREATE)
    pool.manage("relay", "--once")
    with pika.BlockingConnection(pika.URLParameters(rabbitmq.url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        method, body = take(channel, queue)
        for forged in forgeries(json.loads(body)):
            channel.basic_publish("", queue, forged)
            channel.basic_publish("", f"{queue}.XQ", forged)
        pool.start()

        def is_empty() -> bool:
            names = (queue, f"{queue}.XQ")
            return not any(channel.queue_declare(name, passive=True).method.message_count for name in names)

        wait_for(lambda: is_empty() and len(read(DEAD)) > 0)
        assert read(HISTORY) == []
        channel.basic_nack(method.delivery_tag, requeue=True)
        pool.manage("shell", "--no-imports", "-c", CHANGE)
        wait_for(lambda: is_empty() and len(read(HISTORY)) == 3)
        # What comes last shows that nothing before it is held up.
        count = len(read(DEAD))
        channel.basic_publish("", queue, b"the last")
        wait_for(lambda: is_empty() and len(read(DEAD)) == count + 1)
    expected = [("task.created", 1, "true"), ("task.updated", 2, "truer"), ("task.deleted", 3, "truer")]
    assert [(event, version, title) for event, _task, version, title in read(HISTORY)] == expected
    assert set(read(DEAD)) == {("foreign",), ("undecodable",)}
    assert read("SELECT count(*) FROM outbox_outboxmessage WHERE state <> 'dead'") == [(0,)]
    log = pool.log.read_text("utf-8")
    assert "forged message dropped" in log
    assert "dead letter dropped" in log
    assert not any(character in log for character in "\x1b\0")
    # Stopped, it gives back what it had taken and not acknowledged: nothing waited in its memory.
    pool.ask_to_stop()
    assert pool.wait() == 0
    with pika.BlockingConnection(pika.URLParameters(rabbitmq.url)) as connection:
        assert connection.channel().queue_declare(queue, passive=True).method.message_count == 0
