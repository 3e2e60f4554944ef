"""Buffers acknowledgements and sends as few as is safe.

Guarantee: one `multiple` ack covers a range only if every earlier delivery on the channel has been answered, so it can
remove no message whose outcome is not committed. Worker threads add acks; the consumer thread, which owns the channel,
sends them.
"""

import threading
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ack:
    """An ack or a nack of one delivery, or an ack of all up to one."""

    tag: int

    is_ack: bool

    up_to: bool = False


class AckBuffer:
    """The unsent acks and nacks of one channel, whose delivery tags AMQP numbers 1, 2, 3 …"""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._unsent: dict[int, bool] = {}
        self._answered_to = 0
        self._answered_beyond: set[int] = set()

    def add(self, tag: int, *, is_ack: bool) -> bool:
        """Buffer an ack or nack; return whether the buffer was empty: then the caller has to schedule a `take`."""
        with self._lock:
            self._unsent[tag] = is_ack
            return len(self._unsent) == 1

    def take(self) -> list[Ack]:
        """Return the acks and nacks to send, in this order, for all that was added since the last `take`."""
        with self._lock:
            unsent, self._unsent = self._unsent, {}
        self._advance(unsent.keys())
        acked = sorted(tag for tag, is_ack in unsent.items() if is_ack)
        together = [tag for tag in acked if tag <= self._answered_to]
        # Nacks first: a `multiple` ack of a later delivery would acknowledge theirs.
        acks = [Ack(tag, is_ack=False) for tag, is_ack in unsent.items() if not is_ack]
        if together:
            acks.append(Ack(together[-1], is_ack=True, up_to=len(together) > 1))
        return acks + [Ack(tag, is_ack=True) for tag in acked[len(together) :]]

    def _advance(self, tags: Iterable[int]) -> None:
        self._answered_beyond.update(tags)
        while self._answered_to + 1 in self._answered_beyond:
            self._answered_to += 1
            self._answered_beyond.remove(self._answered_to)
