"""Actors that misbehave, one way each, run by the workers of the chaos stack beside the service's own.

Their effects are rows of the table `chaos_effect`. What no rollback may undo is a line of a diary, a file to which
every process appends: `<name> <begun|ended> <process id> <monotonic seconds>`.
"""

import os
import signal
import time
from pathlib import Path
from typing import Any

import dramatiq
from django.db import connection, transaction

from actors.activity import log_task_creation
from actors.outbox.worker import execution_lease, poison

POLL_SECONDS = 0.05

# Shorter than the defaults: no test has to wait half a minute for a dead worker's lease.
execution_lease.LEASE_SECONDS = 4.0
execution_lease.RENEW_SECONDS = 1.0
poison.MIN_SUSPENSION_MS = 500


def write_effect(name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO chaos_effect (name) VALUES (%s)", [name])


def write_diary(name: str, event: str) -> None:
    with Path(os.environ["CHAOS_DIARY"]).open("a") as diary:
        diary.write(f"{name} {event} {os.getpid()} {time.monotonic()}\n")


def runs_begun(name: str) -> int:
    return Path(os.environ["CHAOS_DIARY"]).read_text("utf-8").count(f"{name} begun ")


@dramatiq.actor(queue_name="activity", min_backoff=100, max_backoff=200)
def fail_times(name: str, times: int) -> None:
    """Fail as many times, each after the effect, and then succeed."""
    write_diary(name, "begun")
    write_effect(name)
    if runs_begun(name) <= times:
        raise RuntimeError(f"{name} is not ready yet")


@dramatiq.actor(queue_name="activity", min_backoff=100, max_backoff=200, max_retries=2)
def always_fail(name: str) -> None:
    write_diary(name, "begun")
    write_effect(name)
    raise RuntimeError(f"{name} never works")


@dramatiq.actor(queue_name="activity", min_backoff=3_000, max_backoff=3_000)
def fail_once_for_three_seconds(name: str) -> None:
    """Fail once, and be due again 1.5 to 3 s later."""
    fail_times.fn(name, 1)


@dramatiq.actor(queue_name="activity")
def kill_worker(name: str) -> None:
    """Kill the process that runs the actor, as a lack of memory does."""
    write_diary(name, "begun")
    write_effect(name)
    os.kill(os.getpid(), signal.SIGKILL)


@dramatiq.actor(queue_name="activity", outside_effects=True)
def kill_worker_while_held(name: str) -> None:
    """The same with an execution lease, which outlives the process as no lock does."""
    write_diary(name, "begun")
    os.kill(os.getpid(), signal.SIGKILL)


@dramatiq.actor(queue_name="activity", time_limit=500, min_backoff=100, max_backoff=200, max_retries=1)
def exceed_time_limit(name: str) -> None:
    write_diary(name, "begun")
    write_effect(name)
    while True:
        time.sleep(POLL_SECONDS)


@dramatiq.actor(queue_name="activity")
def settle_slowly(name: str, seconds: float) -> None:
    """Wait as long between the effect and its commit."""
    write_effect(name)
    write_diary(name, "begun")
    time.sleep(seconds)
    write_diary(name, "ended")


@dramatiq.actor(queue_name="activity", outside_effects=True)
def post_letter(name: str, seconds: float) -> None:
    """Wait as long over an effect outside the database."""
    write_diary(name, "begun")
    time.sleep(seconds)
    write_diary(name, "ended")


@dramatiq.actor(queue_name="activity")
def take_step(name: str, seconds: float, *before: int) -> int:
    """Be a step of a pipeline: record its number, and pass it on."""
    step = before[-1] + 1 if before else 1
    write_effect(f"{name}/{step}")
    time.sleep(seconds)
    return step


def send_poison(count: int, *, every_seconds: float) -> None:
    """Send a message whose row cannot be written, so the whole group's insert fails: its title is too long."""
    options: dict[str, Any] = {"max_retries": 1, "min_backoff": 100, "max_backoff": 200}
    for _ in range(count):
        log_task_creation.send_with_options(args=(0, "x" * 201, "user1"), **options)
        time.sleep(every_seconds)


def send_slow(prefix: str, count: int) -> None:
    """Send as many messages, each of which takes a second."""
    with transaction.atomic():
        for number in range(count):
            settle_slowly.send(f"{prefix}{number}", 1)


def send_pipelines(prefix: str, count: int) -> None:
    """Send pipelines of three steps."""
    for number in range(count):
        name = f"{prefix}{number}"
        steps = [take_step.message(name, 0.2) for _ in range(3)]
        dramatiq.pipeline(steps).run()  # type: ignore[no-untyped-call]  # Dramatiq's pipelines have no types
