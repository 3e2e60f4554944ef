"""Coroutine actors, which use Django's async ORM."""

import asyncio
import os
from pathlib import Path

import dramatiq
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group

POLL_SECONDS = 0.05
# Longer than the second for which Dramatiq's own event loop waits for a cancelled coroutine.
CLEANUP_SECONDS = 2.0
TIME_LIMIT_MS = 1_000


@dramatiq.actor(queue_name="coroutines")
def note(name: str) -> None:
    """Add a group."""
    Group.objects.create(name=name)


@dramatiq.actor(queue_name="coroutines", outside_effects=True)
async def write_and_send(name: str) -> None:
    """Add a group, and send a message that adds another."""
    await Group.objects.acreate(name=name)
    await sync_to_async(note.send)(f"{name} noted")


@dramatiq.actor(queue_name="coroutines", outside_effects=True, max_retries=1, min_backoff=10, max_backoff=10)
async def write_and_fail(name: str) -> None:
    """Add a group, and fail."""
    await Group.objects.acreate(name=f"{name} {await Group.objects.acount()}")
    raise ValueError("wrong")


@dramatiq.actor(
    queue_name="coroutines",
    outside_effects=True,
    time_limit=TIME_LIMIT_MS,
    max_retries=1,
    min_backoff=10,
    max_backoff=10,
)
async def clean_up_slowly() -> None:
    """Run into the time limit, and then take longer to end than a second."""
    record("begun")
    try:
        await asyncio.sleep(600)
    finally:
        await asyncio.sleep(CLEANUP_SECONDS)
        record("ended")


@dramatiq.actor(queue_name="coroutines", outside_effects=True, notify_shutdown=True)
async def wait_in_coroutine() -> None:
    """Record that it has begun, and wait for a file that ends it."""
    record("begun")
    while not (Path(os.environ["POOL_DIRECTORY"]) / "gate").exists():
        await asyncio.sleep(POLL_SECONDS)
    record("ended")


def record(word: str) -> None:
    """Note a step of a run, in the order of steps."""
    with (Path(os.environ["POOL_DIRECTORY"]) / "steps").open("a") as steps:
        steps.write(f"{word}\n")
