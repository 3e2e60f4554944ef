"""Runs sections, those of a chapter or those that are named, and prints their figures as a table."""

import argparse
import signal
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from bench import cost, create, curves, growth, held, latency, memory, outage, read, relay, results, work
from bench.figures import Figure, table
from bench.ground import Ground, prepared
from project.local.servers.errors import ServerError

Chapter = dict[str, Callable[[Ground], list[Figure]]]
# What README's table says, and the rest.
README: Chapter = {
    "create": create.measure,
    "read": read.measure,
    "work": work.measure,
    "latency": latency.measure,
    "outage": outage.measure,
    "growth": growth.measure,
}
REST: Chapter = {
    "create-others": partial(create.measure, peers=create.OTHERS, numbers=(1,)),
    "work-others": partial(work.measure, peers=work.OTHERS),
    "relay": relay.measure,
    "delays": latency.measure_delays,
    "memory": memory.measure,
    "cost": cost.measure,
    "curves": curves.measure,
    "held": held.measure,
    "soak": held.soak,
}
SECTIONS = {**README, **REST}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SECTIONS)}; those of README, if none")
    parser.add_argument("--all", action="store_true", help="all sections")
    parser.add_argument("--profile", type=Path, metavar="FOLDER", help="where to draw what our processes are busy with")
    given = parser.parse_args()
    if unknown := set(given.names) - set(SECTIONS):
        parser.error(f"there is no section named {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        figures = run(given.names or list(SECTIONS if given.all else README), given.profile)
    except (ServerError, RuntimeError) as error:
        print(error, *getattr(error, "__notes__", ()), sep="\n", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; everything that was started is stopped", file=sys.stderr)
        return 130
    missed = [figure.name for figure in figures if figure.verdict == "MISSED"]
    for name in missed:
        print(f"missed its floor: {name}", file=sys.stderr)
    return 1 if missed else 0


def run(names: Sequence[str], profiles: Path | None) -> list[Figure]:
    """Start the servers, measure, stop the servers; print the figures, and keep those of each whole chapter."""
    began = time.monotonic()

    def report(line: str) -> None:
        print(f"{time.monotonic() - began:5.0f} s  {line}", flush=True)

    measured: dict[str, list[Figure]] = {}
    with prepared(report, profiles) as ground:
        about = results.about(ground)
        for name in names:
            report(f"{name} …")
            measured[name] = SECTIONS[name](ground)
            for figure in measured[name]:
                report(f"  {' | '.join(figure.cells())}")
        report("done")
    figures = [figure for section in measured.values() for figure in section]
    print(f"\n{table(figures)}\n\n{about}")
    for chapter, command, page in ((README, "make bench", "results.md"), (REST, "make bench-all", "results-rest.md")):
        if profiles is None and set(chapter) <= set(names):
            results.write(page, command, [figure for name in chapter for figure in measured[name]], about)
    return figures


if __name__ == "__main__":
    sys.exit(main())
