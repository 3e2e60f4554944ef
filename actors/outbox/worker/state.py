"""State that the worker threads of one process share: created by `engine`, passed to executions and batches."""

import threading
from dataclasses import dataclass, field

from actors.outbox.worker.execution_lease import LeaseRenewer
from actors.outbox.worker.group_commit import GroupCommit

# An actor that took less the last time may run in a batch. A batch that has run for this long begins no more messages.
QUICK_SECONDS = 0.05


class Pace:
    """How long each actor of a process took when it last ran."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def note(self, actor_name: str, seconds: float) -> None:
        """Remember how long an actor took."""
        self._seconds[actor_name] = seconds

    def is_quick(self, actor_name: str) -> bool:
        """Say whether an actor took less than `QUICK_SECONDS`; one that has not run yet is not known to be quick."""
        return self._seconds.get(actor_name, QUICK_SECONDS) < QUICK_SECONDS


@dataclass(kw_only=True)
class WorkerState:
    """What the executions of one worker process share."""

    stopping: threading.Event = field(default_factory=threading.Event)
    """Set when the worker is to stop: executions no longer wait for the database."""

    group_commit: GroupCommit = field(default_factory=GroupCommit)

    lease_renewer: LeaseRenewer = field(default_factory=LeaseRenewer)

    pace: Pace = field(default_factory=Pace)
