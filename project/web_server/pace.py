"""The least rate at which a client has to send a body or read a response.

Guarantee: a client that makes no progress is too slow after its grace; one that makes as much as the least rate never
is, however unevenly. Each byte gives time, but no client ever has more than the grace left, so a quick beginning does
not pay for a halt later. A socket's own time limit would start again with every byte.
"""

MIN_BYTES_PER_SECOND = 2048
"""What the slowest mobile networks (GPRS) still carry. A client at this rate needs nine minutes for a mebibyte."""


class Pace:
    """One transfer, measured since its beginning."""

    __slots__ = ("_at", "_credit", "_done", "_grace")

    def __init__(self, now: float, *, grace: float, done: int = 0) -> None:
        """Begin at the time `now`, in seconds.

        Args:
            grace: how long the transfer may halt, in seconds.
            done: how many bytes were transferred before.
        """
        self._at = now
        self._done = done
        self._credit = self._grace = grace

    def is_too_slow(self, now: float, done: int) -> bool:
        """Return whether the client has used up its time, `done` being all bytes that were transferred so far."""
        gained = (done - self._done) / MIN_BYTES_PER_SECOND
        self._credit = min(self._grace, self._credit - (now - self._at) + gained)
        self._at, self._done = now, done
        return self._credit < 0
