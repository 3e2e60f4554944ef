"""Where the time goes: runs one part of ours under load and a sampling profiler, and prints the top of what it saw.

`python -m bench.profile web|read|work|relay`. Every process is sampled, in the thread that runs
Python just then (py-spy).
"""

import argparse
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import load, read
from bench.ground import Ground, Running, prepared
from bench.messages import carry, owe
from bench.sizes import CLIENTS
from project.local.servers.process import wait_until

SAMPLES_PER_SECOND = 200
SECONDS = 10
SHOWN = 30
MESSAGES = 20_000
PY_SPY = Path(sys.executable).with_name("py-spy")


@contextmanager
def creating(ground: Ground) -> Iterator[Running]:
    """A web server that creates tasks."""
    with ground.web(ground.ours) as web, _under_load(web, load.post(web.port)):
        yield web


@contextmanager
def reading(ground: Ground) -> Iterator[Running]:
    """A web server that shows pages of five among a thousand tasks."""
    read.fill(ground, ground.ours)
    with ground.web(ground.ours) as web, _under_load(web, load.get(web.port, "/tasks/")):
        yield web


@contextmanager
def working(ground: Ground) -> Iterator[Running]:
    """Workers with a full queue."""
    owe(ground, MESSAGES)
    carry(ground, MESSAGES)
    with ground.worker(ground.ours) as pool:
        wait_until(lambda: ground.last_id(ground.ours, ground.ours.activity) > 0, timeout_seconds=30)
        yield pool


@contextmanager
def relaying(ground: Ground) -> Iterator[Running]:
    """A relay with a full outbox."""
    owe(ground, MESSAGES * SECONDS)
    with ground.command(ground.ours, "relay") as relay:
        wait_until(lambda: ground.awaiting() < MESSAGES * SECONDS, timeout_seconds=30)
        yield relay


PARTS = {"web": creating, "read": reading, "work": working, "relay": relaying}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--seconds", type=int, default=SECONDS, help=f"how long it is sampled ({SECONDS})")
    parser.add_argument("--waits", action="store_true", help="sample threads that wait for a server or a lock as well")
    given = parser.parse_args()
    with prepared(print) as ground, PARTS[given.part](ground) as running:
        print(report(stacks_of(running, ground.directory / "stacks", seconds=given.seconds, waits=given.waits)))
    return 0


def stacks_of(running: Running, file: Path, *, seconds: int, waits: bool) -> Counter[tuple[str, ...]]:
    """Sample a program and its children; return how often each stack was seen, each from the outermost call on.

    Raises:
        CalledProcessError: py-spy may not look into other processes here.
    """
    options = (
        "--subprocesses",
        *([] if waits else ["--gil"]),
        "--format",
        "raw",
        "--rate",
        str(SAMPLES_PER_SECOND),
        "--duration",
        str(seconds),
    )
    command = [str(PY_SPY), "record", "--pid", str(running.pid), *options, "--output", str(file)]
    subprocess.run(command, check=True, capture_output=True)
    stacks: Counter[tuple[str, ...]] = Counter()
    for line in file.read_text().splitlines():
        stack, _, samples = line.rpartition(" ")
        stacks[tuple(frame for frame in stack.split(";") if not frame.startswith("process "))] += int(samples)
    return stacks


def report(stacks: Counter[tuple[str, ...]]) -> str:
    """Return the functions in which most samples were, by themselves and with all that they call."""
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for stack, samples in stacks.items():
        functions = [re.sub(r":\d+\)$", ")", frame) for frame in stack]
        own[functions[-1]] += samples
        whole.update(dict.fromkeys(functions, samples))
    return f"{_top('by itself', own, stacks.total())}\n\n{_top('with what it calls', whole, stacks.total())}"


def _top(title: str, counted: Counter[str], samples: int) -> str:
    lines = [f"{100 * count / samples:5.1f} %  {name}" for name, count in counted.most_common(SHOWN)]
    return "\n".join([f"{title} ({samples} samples)", *lines])


@contextmanager
def _under_load(web: Running, request: tuple[str, int]) -> Iterator[None]:
    """Ask for as long as the block lasts."""
    stop = threading.Event()
    asked = load.Load(port=web.port, requests=(request,), total=CLIENTS * 20)

    def ask() -> None:
        while not stop.is_set():
            load.run(asked)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


if __name__ == "__main__":
    sys.exit(main())
