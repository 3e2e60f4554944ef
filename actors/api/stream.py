"""The activity log as it grows, for any number of clients: one reader in a process, a thread for each client.

Guarantee: a client gets every event after the one it names, each once, in commit order, whenever it comes back; the
log itself is what is resumed from. What a client costs is bounded: a thread, a place among `STREAM_CLIENTS`, a page
of events while it catches up. All of it is given back when the client goes, which is seen at once where the web server
lets its socket be seen (gunicorn does), and otherwise by the next heartbeat; and when it does not read, for as long as
`gunicorn.conf.py` says.
"""

import json
import logging
import re
import socket
import ssl
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from django.conf import settings
from django.db import Error, connection
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from rest_framework import status
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.request import Request
from rest_framework.utils.encoders import JSONEncoder

from actors.api.serializers import ActivitySerializer
from actors.commit_order import IN_COMMIT_ORDER, comes_after, is_complete
from actors.models import Activity, Event

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.25
HEARTBEAT_SECONDS = 10.0
# A client that comes back every so often is asked for its token again, and a user who was shut out stays out.
MAX_SECONDS = 600.0
RETRY_MS = 1_000
PAGE = 50
FEW = 5
MAX_PAGE = 1024 * 1024  # characters, but for one event that is larger
# What the process remembers of the log's end: who is not further behind needs no database.
REMEMBERED_CHARACTERS = 8 * 1024 * 1024


class TooManyStreams(APIException):
    """Raised when this process has no place for another client."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = gettext_lazy("Too many clients follow the activity. Try again in a few seconds.")
    default_code = "too_many_streams"
    wait = 5  # seconds, sent as Retry-After


class Position(NamedTuple):
    """Of an event in the log, in commit order."""

    transaction: int

    row_id: int


BEGINNING = Position(0, 0)


def heartbeat(position: Position) -> str:
    """Return what is sent when there is nothing to send: by its id, who comes back goes on from here."""
    return f"id: {position.row_id}\n: heartbeat\n\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """An event as it goes to clients."""

    position: Position

    task_id: int

    event: str

    text: str

    @classmethod
    def of(cls, row: Activity) -> "Sent":
        data = json.dumps(ActivitySerializer(row).data, cls=JSONEncoder, ensure_ascii=False)
        text = f"id: {row.pk}\nevent: {row.event}\ndata: {data}\n\n"
        return cls(position=Position(row.transaction, row.pk), task_id=row.task_id, event=row.event, text=text)


def read_after(position: Position, limit: int = PAGE) -> list[Sent]:
    """Return the next events of the log, as far as nothing can appear between them any more."""
    rows = Activity.objects.filter(is_complete(), comes_after(*position)).order_by(*IN_COMMIT_ORDER)
    page: list[Sent] = []
    size = 0
    # A few at a time: each may hold the whole texts of a task, twice.
    for row in rows[:limit].iterator(chunk_size=FEW):
        page.append(Sent.of(row))
        size += _size(page[-1])
        if size > MAX_PAGE:
            break
    return page


def end_of_log() -> Position:
    """Return the position of the last event before which nothing can appear any more."""
    last = Activity.objects.filter(is_complete()).order_by("-transaction", "-pk").first()
    return Position(last.transaction, last.pk) if last else BEGINNING


def position_of(row_id: int) -> Position:
    """Return where to go on after an event.

    After one that was pruned, that is where what is left begins. One that somebody has seen elsewhere, before the
    stream may tell of it, may come once more: what comes before it has not been seen.
    """
    row = Activity.objects.filter(is_complete(), pk=row_id).only("transaction").first()
    if row is not None:
        return Position(row.transaction, row_id)
    end = end_of_log()
    return end if row_id > end.row_id else BEGINNING


def _position(sent: Sent) -> Position:
    return sent.position


def _size(sent: Sent) -> int:
    return len(sent.text)


class Tail:
    """The end of the log, read once for all clients of a process, as long as there are any."""

    def __init__(self) -> None:
        self.news = threading.Condition()
        self.clients = 0
        self.is_stopping: Callable[[], bool] = lambda: False
        """Whether the process is to end, and its clients are to come back to another one."""
        self._recent: list[Sent] = []
        self._recent_size = 0
        self._end = BEGINNING
        self._floor: Position | None = None
        """After which `_recent` has everything; None as long as nobody reads."""
        self._thread: threading.Thread | None = None

    def enter(self) -> None:
        """Take a client's place.

        Raises:
            TooManyStreams: there is none.
        """
        with self.news:
            if self.clients >= settings.STREAM_CLIENTS:
                raise TooManyStreams
            self.clients += 1
            if self._thread is None or not self._thread.is_alive():
                self._floor, self._recent, self._recent_size = None, [], 0
                self._thread = threading.Thread(target=self._read, name="activity-tail", daemon=True)
                self._thread.start()

    def leave(self) -> None:
        """Give a client's place back."""
        with self.news:
            self.clients -= 1
            self.news.notify_all()

    def after(self, position: Position) -> list[Sent] | None:
        """Return what is remembered after a position; None if not all of it is."""
        with self.news:
            if self._floor is None or position < self._floor:
                return None
            first = bisect_right(self._recent, position, key=_position)
            return self._recent[first : first + PAGE]

    def wait(self, seconds: float) -> None:
        """Wait for news, so long at most."""
        with self.news:
            self.news.wait(seconds)

    def _read(self) -> None:
        try:
            while not self._ends():
                self._step()
        finally:
            connection.close()

    def _ends(self) -> bool:
        with self.news:
            if self.clients and not self.is_stopping():
                return False
            self._thread, self._floor = None, None
            self._recent, self._recent_size = [], 0
            return True

    def _step(self) -> None:
        try:
            if self._floor is None:
                self._end = end_of_log()
                with self.news:
                    self._floor = self._end
            found = read_after(self._end)
        except Error as error:
            logger.warning("stream: database unavailable: %s", error)
            connection.close()
            found = []
        except Exception:  # whatever it is: nobody else would read, and each client would wait for ever
            logger.exception("stream: the log cannot be read")
            found = []
        self._remember(found)
        if len(found) < PAGE:
            time.sleep(POLL_SECONDS)

    def _remember(self, found: Sequence[Sent]) -> None:
        if not found:
            return
        self._end = found[-1].position
        with self.news:
            self._recent += found
            self._recent_size += sum(map(_size, found))
            forgotten = 0
            while self._recent_size > REMEMBERED_CHARACTERS:
                self._floor = self._recent[forgotten].position
                self._recent_size -= _size(self._recent[forgotten])
                forgotten += 1
            del self._recent[:forgotten]
            self.news.notify_all()


class Client:
    """What one client is sent: an iterator, because one that was never begun must be closed as well."""

    def __init__(
        self,
        tail: Tail,
        *,
        position: Position,
        wanted: Callable[[Sent], bool],
        has_gone: Callable[[], bool] = lambda: False,
    ) -> None:
        tail.enter()
        self._has_gone = has_gone
        self._tail = tail
        self._position = position
        self._wanted = wanted
        self._is_open = True
        self._pieces = self._stream()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return next(self._pieces)

    def close(self) -> None:
        """Give everything back; to do so again does nothing."""
        if self._is_open:
            self._is_open = False
            self._tail.leave()

    def _stream(self) -> Iterator[str]:
        yield f"retry: {RETRY_MS}\nid: {self._position.row_id}\n\n"
        ends_at = time.monotonic() + MAX_SECONDS
        quiet_since = time.monotonic()
        while self._is_open and time.monotonic() < ends_at and not (self._tail.is_stopping() or self._has_gone()):
            found = self._next()
            for each in filter(self._wanted, found):
                if time.monotonic() >= ends_at or self._tail.is_stopping():
                    return
                yield each.text
                quiet_since = time.monotonic()
            if found:
                self._position = found[-1].position
            if time.monotonic() - quiet_since >= HEARTBEAT_SECONDS:
                yield heartbeat(self._position)
                quiet_since = time.monotonic()
            elif not found:
                self._tail.wait(POLL_SECONDS)

    def _next(self) -> list[Sent]:
        found = self._tail.after(self._position)
        if found is None:
            found = self._read_log()
        if len(found) < PAGE:
            connection.close()  # a thread that waits for hours needs none
        return found

    def _read_log(self) -> list[Sent]:
        try:
            return read_after(self._position)
        except Error as error:
            logger.warning("stream: database unavailable: %s", error)
            return []


process_tail = Tail()


def open_client(request: Request) -> Client:
    """Return a stream of what the request asks for, from its `Last-Event-ID` on or from now.

    Raises:
        TooManyStreams: this process has no place for another client.
        ValidationError: an id or an event is none.
    """
    task_id = _number(request.query_params.get("task"), name="task")
    event = request.query_params.get("event")
    if event is not None and event not in Event.values:
        raise ValidationError({"event": [_("Choose from: %(allowed)s.") % {"allowed": ", ".join(Event.values)}]})
    last = _number(request.headers.get("Last-Event-ID") or None, name="Last-Event-ID")

    def is_wanted(sent: Sent) -> bool:
        return (task_id is None or sent.task_id == task_id) and (event is None or sent.event == event)

    position = end_of_log() if last is None else position_of(last)
    return Client(process_tail, position=position, wanted=is_wanted, has_gone=partial(_has_hung_up, request.META))


def _has_hung_up(environment: dict[str, Any]) -> bool:
    """Say whether nobody is at the other end any more, as far as that can be seen without writing to it."""
    line = environment.get("gunicorn.socket")
    if not isinstance(line, socket.socket) or isinstance(line, ssl.SSLSocket):
        return False
    try:
        return line.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _number(text: str | None, *, name: str) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise ValidationError({name: [_("Enter a whole number.")]})
    return int(text)
