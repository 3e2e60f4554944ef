"""State that the worker threads of one process share: created by `engine`, passed to executions and batches."""

import threading
from dataclasses import dataclass, field

from actors.outbox.worker.execution_lease import LeaseRenewer

# An actor that took less the last time may run in a batch. A batch that has run for this long begins no more messages.
QUICK_SECONDS = 0.05


@dataclass(kw_only=True)
class WorkerState:
    """What the executions of one worker process share."""

    stopping: threading.Event = field(default_factory=threading.Event)
    """Set when the worker is to stop: executions no longer wait for the database."""

    lease_renewer: LeaseRenewer = field(default_factory=LeaseRenewer)

    last_run_seconds: dict[str, float] = field(default_factory=dict)
    """How long each actor, by name, took when it last ran."""

    def is_quick(self, actor_name: str) -> bool:
        """Say whether an actor took less than `QUICK_SECONDS`; one that has not run yet is not known to be quick."""
        return self.last_run_seconds.get(actor_name, QUICK_SECONDS) < QUICK_SECONDS
