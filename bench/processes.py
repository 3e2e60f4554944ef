"""What processes cost: the time they keep a core busy, and the memory that is theirs."""

from contextlib import suppress

import psutil


def family(pid: int) -> list[psutil.Process]:
    """Return a process and all that it has started."""
    leader = psutil.Process(pid)
    return [leader, *leader.children(recursive=True)]


def cpu_seconds(pid: int) -> float:
    """Return how long a process, all its threads and children, those that have ended too, have kept a core busy."""
    total = 0.0
    for member in family(pid):
        with suppress(psutil.NoSuchProcess):
            times = member.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def memory_mb(pid: int) -> float:
    """Return the memory of a process and its children in MB; what they share counts once (PSS)."""
    return sum(member.memory_full_info().pss for member in family(pid)) / 1e6
