"""The connections that wait in the main loop: for what, since when, and whether their time is up."""

import selectors
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import Any, Protocol

from project.web_server.arrival import Arrival
from project.web_server.client_socket import ClientSocket


class Connection(Protocol):
    """A client's connection."""

    sock: ClientSocket

    arrival: Arrival
    """The request that is awaited, or the one that is served."""


class State(Enum):
    """What a connection waits for; those of the first state are the first to go."""

    CLOSING = auto()
    """The client has its response and is to hang up."""

    ARRIVING = auto()
    """A request, or the rest of it."""

    LEAVING = auto()
    """The client reads a response that is complete."""


@dataclass(frozen=True, slots=True)
class Wait:
    """What happens when the client's socket is ready, and when it is not for too long."""

    event: int

    go_on: Callable[[Any], None]

    is_overdue: Callable[[float], bool]


class Waiting:
    """Connections by state, each state in the order in which they began to wait."""

    def __init__(self, poller: selectors.BaseSelector) -> None:
        self._poller = poller
        self._waits: dict[State, dict[Connection, Wait]] = {state: {} for state in State}

    def __len__(self) -> int:
        return sum(map(len, self._waits.values()))

    def add(self, connection: Connection, state: State, wait: Wait) -> None:
        """Watch a connection's socket."""
        self._poller.register(connection.sock, wait.event, partial(self._go_on, connection, state))
        self._waits[state][connection] = wait

    def remove(self, connection: Connection) -> None:
        """Watch it no longer, if it is watched."""
        for waits in self._waits.values():
            if waits.pop(connection, None) is not None:
                self._poller.unregister(connection.sock)

    def of(self, state: State) -> Iterator[Connection]:
        """Yield the connections of a state."""
        return iter(self._waits[state])

    def has(self, connection: Connection, state: State) -> bool:
        """Return whether a connection is in a state."""
        return connection in self._waits[state]

    def overdue(self, state: State, now: float) -> list[Connection]:
        """Return the connections of a state whose time is up."""
        return [connection for connection, wait in self._waits[state].items() if wait.is_overdue(now)]

    def longest(self) -> Connection | None:
        """Return the one to give up first."""
        return next((connection for waits in self._waits.values() for connection in waits), None)

    def _go_on(self, connection: Connection, state: State, _file: Any) -> None:
        # Another event of the same turn may have ended it.
        if (wait := self._waits[state].get(connection)) is not None:
            wait.go_on(connection)
