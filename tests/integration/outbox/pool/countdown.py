"""An actor that counts down: each number fails once, then sends the next with a delay. No relay beside it sweeps."""

import os
from pathlib import Path

import dramatiq

from actors.outbox.context import current_trail
from actors.outbox.relay import thread

thread.SWEEP_SECONDS = 3_600.0


@dramatiq.actor(queue_name="countdown", min_backoff=20, max_backoff=200)
def count_down(number: int) -> None:
    with (Path(os.environ["POOL_DIRECTORY"]) / "begun").open("a") as begun:
        begun.write(f"{number}\n")
    trail = current_trail()
    assert trail is not None
    assert trail.attempts > 1, "the first attempt fails"
    if number:
        count_down.send_with_options(args=(number - 1,), delay=100)
