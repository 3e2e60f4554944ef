"""What a consumer still has to tell RabbitMQ of the messages that it took, gathered: as few words as are true.

Guarantee: nothing is told of a message but what was said of this very message. One acknowledgement stands for several
only if every message that came before the last of them, over this channel, is answered: then there is no other that it
could remove. Given by any thread, taken by the one that has the channel (`consumer`).
"""

import threading
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ack:
    """An ack or a nack of one message, or an ack of all up to one."""

    tag: int

    is_ack: bool

    up_to: bool = False


class AckBuffer:
    """The answers of one channel, whose messages have the tags 1, 2, 3 …, as AMQP has it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._given: dict[int, bool] = {}
        self._answered_to = 0
        self._answered_beyond: set[int] = set()

    def give(self, tag: int, *, is_ack: bool) -> bool:
        """Keep an answer; return whether it is the first since they were taken, so that somebody has to take them."""
        with self._lock:
            self._given[tag] = is_ack
            return len(self._given) == 1

    def take(self) -> list[Ack]:
        """Return what is to be told, in this order, of what was given since the last time."""
        with self._lock:
            given, self._given = self._given, {}
        self._advance(given.keys())
        acked = sorted(tag for tag, is_ack in given.items() if is_ack)
        together = [tag for tag in acked if tag <= self._answered_to]
        # Rejections first: an acknowledgement of all up to a later one would take theirs away.
        told = [Ack(tag, is_ack=False) for tag, is_ack in given.items() if not is_ack]
        if together:
            told.append(Ack(together[-1], is_ack=True, up_to=len(together) > 1))
        return told + [Ack(tag, is_ack=True) for tag in acked[len(together) :]]

    def _advance(self, tags: Iterable[int]) -> None:
        self._answered_beyond.update(tags)
        while self._answered_to + 1 in self._answered_beyond:
            self._answered_to += 1
            self._answered_beyond.remove(self._answered_to)
