"""Runs the sections, all or those that are named, and prints their figures as one table."""

import argparse
import signal
import sys
import time
from collections.abc import Callable, Sequence

from bench import create, curves, growth, latency, memory, outage, read, relay, results, work
from bench.figures import Figure, table
from bench.ground import Ground, prepared
from bench.load import LoadFailed
from bench.sizes import FULL, QUICK, Extent
from project.local.servers.errors import ServerError

SECTIONS: dict[str, Callable[[Ground, Extent], list[Figure]]] = {
    "create": create.measure,
    "read": read.measure,
    "work": work.measure,
    "relay": relay.measure,
    "latency": latency.measure,
    "outage": outage.measure,
    "growth": growth.measure,
    "memory": memory.measure,
    "curves": curves.measure,
}
QUICK_SECTIONS = ("create", "read", "work")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SECTIONS)}; all, if none is given")
    parser.add_argument("--quick", action="store_true", help="two minutes: ours beside one peer, in two rounds")
    given = parser.parse_args()
    if unknown := set(given.names) - set(SECTIONS):
        parser.error(f"there is no section named {', '.join(sorted(unknown))}")
    names = given.names or list(QUICK_SECTIONS if given.quick else SECTIONS)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        run(names, QUICK if given.quick else FULL, keeps=not (given.names or given.quick))
    except (ServerError, LoadFailed, RuntimeError) as error:
        print(error, *getattr(error, "__notes__", ()), sep="\n", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; everything that was started is stopped", file=sys.stderr)
        return 130
    return 0


def _interrupt(_number: int, _frame: object) -> None:
    # Once: a second one would interrupt the stopping.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    raise KeyboardInterrupt


def run(names: Sequence[str], extent: Extent, *, keeps: bool) -> None:
    """Start the servers, measure, stop the servers; print the figures and, of a whole run, keep them."""
    began = time.monotonic()

    def report(line: str) -> None:
        print(f"{time.monotonic() - began:5.0f} s  {line}", flush=True)

    with prepared(report) as ground:
        about = results.about(ground)
        figures = []
        for name in names:
            report(f"{name} …")
            measured = SECTIONS[name](ground, extent)
            for figure in measured:
                report(f"  {' | '.join(figure.cells())}")
            figures += measured
        report("done")
    print(f"\n{table(figures)}\n\n{about}")
    if keeps:
        results.write(figures, about)


if __name__ == "__main__":
    sys.exit(main())
