"""An actor that runs until the test lets it end."""

import os
import time
from pathlib import Path

import dramatiq

POLL_SECONDS = 0.05


@dramatiq.actor(queue_name="slow")
def wait_for_gate(number: int) -> None:
    """Record that it has begun, and wait for a file that ends it."""
    directory = Path(os.environ["POOL_DIRECTORY"])
    with (directory / "begun").open("a") as begun:
        begun.write(f"{number}\n")
    while not (directory / "gate").exists():
        time.sleep(POLL_SECONDS)
