"""State that the worker threads of one process share: created by `engine`, passed to executions and batches."""

import threading
from dataclasses import dataclass, field

from actors.outbox.worker.execution_lease import LeaseRenewer

# An actor whose last run took less may run in a batch. A batch that has run for this long begins no more messages.
QUICK_SECONDS = 0.05


@dataclass(kw_only=True)
class WorkerState:
    """State shared by the executions of one worker process."""

    stopping: threading.Event = field(default_factory=threading.Event)
    """Set when the worker is to stop: executions no longer wait for the database."""

    lease_renewer: LeaseRenewer = field(default_factory=LeaseRenewer)

    last_run_seconds: dict[str, float] = field(default_factory=dict)
    """How long the last run of each actor took, by its name."""

    def is_quick(self, actor_name: str) -> bool:
        """Return whether an actor's last run took less than `QUICK_SECONDS`; False before its first run."""
        return self.last_run_seconds.get(actor_name, QUICK_SECONDS) < QUICK_SECONDS
