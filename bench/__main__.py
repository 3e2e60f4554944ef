"""Runs the figures, all or those that are named, and prints them as one table."""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench import cost, latency, outage, relay
from bench.figures import Figure, machine, table
from bench.ground import Ground
from project.servers.errors import ServerFailedToStart, ServerUnavailable
from project.servers.postgresql import PrivatePostgresql
from project.servers.postgresql import find_or_fetch as find_postgresql
from project.servers.rabbitmq import PrivateRabbitmq
from project.servers.rabbitmq import find_or_fetch as find_rabbitmq
from settings.environment import VAR

FIGURES: dict[str, Callable[[Ground], list[Figure]]] = {
    "relay": relay.measure,
    "cost": cost.measure,
    "latency": latency.measure,
    "outage": outage.measure,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(FIGURES)}; all, if none is given")
    names = parser.parse_args().names or list(FIGURES)
    if unknown := set(names) - set(FIGURES):
        parser.error(f"there is no figure named {', '.join(sorted(unknown))}")
    try:
        figures = run(names)
    except (ServerUnavailable, ServerFailedToStart) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"\n{table(figures)}\n\n{machine()}")
    return 0


def run(names: list[str]) -> list[Figure]:
    """Start the servers, measure, stop the servers."""
    began = time.monotonic()

    def report(line: str) -> None:
        print(f"{time.monotonic() - began:5.0f} s  {line}", flush=True)

    report(f"Starting PostgreSQL and RabbitMQ … ({machine()})")
    with (
        tempfile.TemporaryDirectory(prefix="vazifa-bench-") as directory,
        PrivatePostgresql(
            directory=Path(directory) / "postgresql", installation=find_postgresql(VAR / "cache", report)
        ) as postgresql,
        PrivateRabbitmq(
            directory=Path(directory) / "rabbitmq", installation=find_rabbitmq(VAR / "cache", report), plugins=()
        ) as rabbitmq,
    ):
        ground = Ground(directory=Path(directory), postgresql=postgresql, rabbitmq=rabbitmq)
        ground.prepare()
        figures = []
        for name in names:
            report(f"{name}: {FIGURES[name].__module__.rpartition('.')[2]} …")
            figures += FIGURES[name](ground)
            for figure in figures[-3:]:
                report(f"  {' | '.join(figure.cells())}")
        ground.database.close()
        return figures


if __name__ == "__main__":
    sys.exit(main())
