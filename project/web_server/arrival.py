"""What has come of a request: when it is whole, and by when it has to be.

Guarantee: a head has `HEAD_SECONDS` in all from its first byte, a body a least rate (`Pace`). No more is looked at than
where a request ends: gunicorn's parser alone says what is in it. Where its length is in doubt it goes to the parser
at once, with `has_body` False, and the connection ends with its response.
"""

import re
from time import monotonic

from project.web_server.pace import Pace

HEAD_SECONDS = 10.0
BODY_GRACE_SECONDS = 10.0
MAX_HEAD_BYTES = 64 * 1024
"""More than proxies pass on, and twenty times what browsers send."""
MAX_DIGITS = 18

END = b"\r\n\r\n"
FRAMING = re.compile(rb"\r\n(content-length|transfer-encoding|expect):([^\r\n]*)", re.IGNORECASE)
BARE_LF = re.compile(rb"(?<!\r)\n")


class Arrival:
    """The bytes of one request, and those after it."""

    __slots__ = ("_needed", "_pace", "data", "deadline", "has_body", "is_whole", "max_body", "wants_continue")

    def __init__(self, *, max_body: int, deadline: float = 0.0) -> None:
        """Await a request.

        Args:
            max_body: how large a body is awaited, in bytes; the service refuses a larger one unread.
            deadline: until when the first byte has to come.
        """
        self.data: bytes | bytearray = b""
        self.max_body = max_body
        self.deadline = deadline
        self.is_whole = False
        """Whether the request can be served."""
        self.has_body = True
        """Whether all of its body is there, which is known once it is whole."""
        self.wants_continue = False
        """Whether the client waits for a `100 Continue` before it sends the body."""
        self._needed = 0  # unknown until the head is whole
        self._pace: Pace | None = None

    def add(self, data: bytes) -> None:
        """Take what has come, and note whether the request is whole now."""
        before = len(self.data)
        if not before:
            self.data = data
        else:
            if isinstance(self.data, bytes):
                self.data = bytearray(self.data)
            self.data += data
        if not self._needed:
            self._look_for_head(before)
        self.is_whole = 0 < self._needed <= len(self.data)
        if not self.is_whole and not before:
            self.deadline = monotonic() + HEAD_SECONDS

    @property
    def is_too_long(self) -> bool:
        """Whether this is more than a head may be."""
        return not self._needed and len(self.data) > MAX_HEAD_BYTES

    def is_overdue(self, now: float) -> bool:
        """Return whether the client has used up its time."""
        return now > self.deadline if self._pace is None else self._pace.is_too_slow(now, len(self.data))

    def _look_for_head(self, before: int) -> None:
        end = self.data.find(END, max(0, before - len(END) + 1))
        if end >= 0:
            self._needed = end + len(END) + self._length_of_body(end + 2)
            if self._needed > len(self.data):
                self._pace = Pace(monotonic(), grace=BODY_GRACE_SECONDS, done=len(self.data))
            else:
                self.wants_continue = False
        elif BARE_LF.search(self.data, before):
            self._needed = len(self.data)  # no head at all: the parser says so

    def _length_of_body(self, end: int) -> int:
        """Return how many bytes after the head are awaited."""
        length = 0
        for field in FRAMING.finditer(self.data, 0, end):
            name, value = field[1].lower(), field[2].strip()
            if name == b"expect":
                self.wants_continue = b" HTTP/1.1\r\n" in self.data
            elif name == b"content-length" and value.isdigit() and len(value) <= MAX_DIGITS and not length:
                length = int(value)
            else:
                self.has_body = False
        if length > self.max_body:
            self.has_body = False
        return length if self.has_body else 0
