"""What was measured, on what, with what: a page for each chapter."""

import os
import platform
import re
import sysconfig
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from redis import Redis

from bench.figures import Figure, table
from bench.ground import Ground
from bench.sizes import CELERY_PROCESSES, CLIENTS, WEB_PROCESSES, WEB_THREADS, WORKER_PROCESSES, WORKER_THREADS

LIBRARIES = ("Django", "djangorestframework", "dramatiq", "celery", "gunicorn", "pika", "psycopg")
HEAD = """\
# One run

`{command}`, {date}. How each figure is measured, and what it is not: [README.md](README.md). The median of the rounds,
their least and greatest, and what was aimed at: `goal`, at least the `floor`, or `MISSED`.

"""


def about(ground: Ground) -> str:
    """Say on what machine and with what versions it is measured, and how busy the machine is now."""
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    memory_gb = psutil.virtual_memory().total / 1e9
    return f"""\
- Machine: {os.cpu_count()} cores ({_processor()}), {memory_gb:.0f} GB, {platform.system()} {platform.machine()}; load \
average {load} at the beginning; clients, servers and what is measured share the cores
- Interpreter: {_interpreter()}
- Versions: {_versions(ground)}
- Sizes: web servers {WEB_PROCESSES} processes × {WEB_THREADS} threads, {CLIENTS} clients; workers of Dramatiq \
{WORKER_PROCESSES} × {WORKER_THREADS}, of Celery {CELERY_PROCESSES}"""


def _processor() -> str:
    described = Path("/proc/cpuinfo")
    name = re.search(r"^model name\s*: (.*)", described.read_text() if described.exists() else "", re.MULTILINE)
    return name[1] if name else platform.processor() or "unknown"


def _interpreter() -> str:
    """Name Python's build: one that is not optimised takes a quarter more of a core, ours and the peers alike."""
    levels = re.findall(r"-O\w*", sysconfig.get_config_var("PY_CFLAGS") or "")
    options = re.findall(r"--enable-optimizations|--with-lto", sysconfig.get_config_var("CONFIG_ARGS") or "")
    build = " ".join([*levels[-1:], *options])
    slow = "; NOT optimised, which takes about a quarter more of a core" * ("--enable-optimizations" not in options)
    return f"Python {platform.python_version()}, {platform.python_compiler()}, {build}{slow}"


def _versions(ground: Ground) -> str:
    [[database]] = ground.rows("SHOW server_version")
    node = ground.servers.rabbitmq.rabbitmqctl("version").strip()
    with Redis.from_url(ground.servers.redis_url) as redis:
        server: Any = redis.info("server")
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return f"{libraries}, PostgreSQL {database}, RabbitMQ {node}, Redis {server['redis_version']}"


def write(page: str, command: str, figures: Sequence[Figure], about: str) -> None:
    head = HEAD.format(command=command, date=datetime.now(UTC).strftime("%Y-%m-%d"))
    Path(__file__).with_name(page).write_text(f"{head}{about}\n\n{table(figures)}\n")
