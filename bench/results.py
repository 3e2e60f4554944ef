"""What was measured, on what, with what: `results.md`, written by a whole run."""

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench.figures import Figure, table
from bench.ground import Ground
from bench.sizes import CELERY_PROCESSES, CLIENTS, WEB_PROCESSES, WEB_THREADS, WORKER_PROCESSES, WORKER_THREADS

FILE = Path(__file__).with_name("results.md")
LIBRARIES = ("Django", "djangorestframework", "dramatiq", "celery", "gunicorn", "pika", "psycopg")
HEAD = """\
# One run

`make bench`, {date}. How each figure is measured, and what it is not: [README.md](README.md). The median of the rounds,
their least and greatest, and what was aimed at: `goal`, at least the `floor`, or `MISSED`.

"""


def about(ground: Ground) -> str:
    """Say on what machine and with what versions it is measured, and how busy the machine is now."""
    lines = [f"Machine: {_machine()}", f"Versions: {', '.join(_versions(ground))}", f"Sizes: {_sizes()}"]
    return "\n".join(f"- {line}" for line in lines)


def write(figures: Sequence[Figure], about: str) -> None:
    head = HEAD.format(date=datetime.now(UTC).strftime("%Y-%m-%d"))
    FILE.write_text(f"{head}{about}\n\n{table(figures)}\n")


def _machine() -> str:
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return (
        f"{os.cpu_count()} cores ({_processor()}), {memory_gb:.0f} GB, {platform.system()} {platform.machine()}; "
        f"load average {load} at the beginning; clients, servers and what is measured share the cores"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _versions(ground: Ground) -> list[str]:
    row = ground.database().execute("SHOW server_version").fetchone()
    redis = subprocess.run(
        [ground.servers.redis.installation.server, "--version"],
        env=ground.servers.redis.installation.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return [
        f"Python {platform.python_version()}",
        *(f"{name} {version(name)}" for name in LIBRARIES),
        f"PostgreSQL {row[0] if row else '?'}",
        f"RabbitMQ {ground.servers.rabbitmq.rabbitmqctl('version').strip()}",
        f"Redis {redis.stdout.split('v=')[1].split()[0]}",
    ]


def _sizes() -> str:
    return (
        f"web servers {WEB_PROCESSES} processes × {WEB_THREADS} threads, {CLIENTS} clients; "
        f"workers of Dramatiq {WORKER_PROCESSES} × {WORKER_THREADS}, of Celery {CELERY_PROCESSES}"
    )
