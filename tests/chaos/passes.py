"""The length of a pass of the scenarios: short in every run of the tests, long in `make chaos`."""

import os
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Pass:
    """The size of everything that a scenario does."""

    fault_seconds: float
    """How long a part stays broken, at least."""

    creates: int
    """How many tasks are created while it is, at least."""

    pause_seconds: float
    """How long each client pauses between two creates: recovery needs some of the processors."""

    repeats: int
    """How often a fault that takes no time is repeated."""

    restarts: int
    """How often workers are restarted over the same messages."""

    backlog: int
    """How many messages wait for workers that were stopped."""

    scenario_timeout_seconds: float

    recovery_timeout_seconds: float
    """How long to wait for the outbox to be empty after a fault."""


SHORT = Pass(
    fault_seconds=2,
    creates=40,
    pause_seconds=0.15,
    repeats=3,
    restarts=4,
    backlog=1_000,
    scenario_timeout_seconds=300,
    recovery_timeout_seconds=120,
)
LONG = Pass(
    fault_seconds=20,
    creates=2_000,
    pause_seconds=0.05,
    repeats=12,
    restarts=10,
    backlog=5_000,
    scenario_timeout_seconds=2_400,
    recovery_timeout_seconds=600,
)


def chosen_pass() -> Pass:
    """Return the long pass where `CHAOS=long`, the short one otherwise."""
    return LONG if os.environ.get("CHAOS") == "long" else SHORT
