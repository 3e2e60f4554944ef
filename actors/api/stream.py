"""Streams the activity log to clients as it grows: one reader thread in a process, and a thread for each client.

Guarantee: a client gets every event after the one it names, each once, in commit order, however late it reconnects:
streams resume from the log itself. A client's cost is bounded: a thread, a place among `STREAM_CLIENTS`, of which a
user may have `STREAM_CLIENTS_PER_USER`, a page of events while it catches up. All of it is released when the client
disconnects, which the process notices at once if the web server exposes the socket (gunicorn does) and otherwise at the
next heartbeat; and when the client reads too slowly for the web server. A client whose token or session has ended loses
the stream within `HEARTBEAT_SECONDS`. What refuses a browser's EventSource for a while does not end it (`come_back`).
"""

import json
import logging
import re
import socket
import ssl
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from random import randrange
from typing import Any, NamedTuple

from django.conf import settings
from django.db import Error, connection
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from rest_framework import status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.utils.encoders import JSONEncoder

from actors.api.admission import admission
from actors.api.serializers import ActivitySerializer
from actors.commit_order import comes_after, in_commit_order, is_complete, renew_offset, sort_key
from actors.models import Activity, Event
from actors.rest import time_limit
from actors.rest.places import Placed, Places

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.25
HEARTBEAT_SECONDS = 10.0
# After this time the stream ends and the client reconnects.
MAX_SECONDS = 600.0
RETRY_MS = 1_000
TEMPORARY = {status.HTTP_429_TOO_MANY_REQUESTS, status.HTTP_503_SERVICE_UNAVAILABLE}
MIN_PAUSE_SECONDS = 5  # after one of these
PAGE = 50
FEW = 5
MAX_PAGE = 1024 * 1024  # characters; a page exceeds it by its last event
MAX_DIGITS = 18
NUMBER = {"type": "integer", "minimum": 0, "maximum": 10**MAX_DIGITS - 1}
"""An id in a parameter, as the OpenAPI schema describes it."""
# JSON leaves them as they are; clients that split a text by Python's `splitlines`, as httpx does, end a line at each.
UNICODE_LINE_ENDS = re.compile("[\x85\u2028\u2029]")
# How much of the log's end the process keeps in memory: a client that is no further behind needs no database.
REMEMBERED_CHARACTERS = 8 * 1024 * 1024


def come_back(refused_with: int, *, after_seconds: int) -> str:
    """Return the stream of a client that is refused for a while: its end, and when to connect again.

    An EventSource gives up for good at any status but 200. After the end of a stream it connects again, with its
    `Last-Event-ID`: in once to twice `after_seconds`, but no less than `MIN_PAUSE_SECONDS`, so that not all come back
    at once.

    Args:
        refused_with: the status that other clients get, one of `TEMPORARY`; it is logged.
        after_seconds: that answer's `Retry-After`.
    """
    least_ms = 1_000 * max(after_seconds, MIN_PAUSE_SECONDS)
    pause_ms = randrange(least_ms, 2 * least_ms)  # noqa: S311 – no secret
    logger.info("stream: refused status=%d retry_ms=%d", refused_with, pause_ms)
    return f"retry: {pause_ms}\n\n"


places = Places(
    total=lambda: settings.STREAM_CLIENTS,
    each=lambda: settings.STREAM_CLIENTS_PER_USER,
    full=gettext_lazy("Too many clients follow the activity. Try again in a few seconds."),
    own=gettext_lazy("You follow the activity with as many clients as one user may. Close one of them first."),
)


class Position(NamedTuple):
    """An event's place in the log, in commit order."""

    transaction: int

    row_id: int


BEGINNING = Position(0, 0)


def position_at(row: Activity) -> Position:
    """Return the position of a row."""
    return Position(sort_key(row.transaction), row.pk)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """An event as it is sent to clients."""

    position: Position

    task_id: int

    event: str

    text: str


def read_after(position: Position) -> list[Sent]:
    """Return the next page of events, up to the point before which no event can appear any more."""
    rows = Activity.objects.filter(is_complete(), comes_after(*position)).order_by(*in_commit_order())
    page: list[Sent] = []
    size = 0
    # A few at a time: each may contain the whole texts of a task twice.
    for row in rows[:PAGE].iterator(chunk_size=FEW):
        data = json.dumps(ActivitySerializer(row).data, cls=JSONEncoder, ensure_ascii=False)
        data = UNICODE_LINE_ENDS.sub(lambda found: f"\\u{ord(found[0]):04x}", data)
        text = f"id: {row.pk}\nevent: {row.event}\ndata: {data}\n\n"
        page.append(Sent(position=position_at(row), task_id=row.task_id, event=row.event, text=text))
        size += len(text)
        if size > MAX_PAGE:
            break
    return page


def end_of_log() -> Position:
    """Return the position of the last event before which no event can appear any more."""
    renew_offset()
    last = Activity.objects.filter(is_complete()).order_by(*in_commit_order()).last()
    return position_at(last) if last else BEGINNING


def position_of(row_id: int) -> Position:
    """Return where to continue after the event with this id.

    If the event was pruned, the stream continues at the beginning of the log. If the client got the id from a list and
    the stream has not reached that event yet, it continues at the end: it may then send the event too, since earlier
    ones in commit order have not been sent.
    """
    renew_offset()
    row = Activity.objects.filter(is_complete(), pk=row_id).only("transaction").first()
    if row is not None:
        return position_at(row)
    end = end_of_log()
    return end if row_id > end.row_id else BEGINNING


class Tail:
    """The end of the log, read by one thread for all clients of a process, as long as there are clients."""

    def __init__(self) -> None:
        self.news = threading.Condition()
        self.clients = 0
        self.is_stopping: Callable[[], bool] = lambda: False
        """Whether the process is about to end, so that its clients should reconnect to another one."""
        self._recent: list[Sent] = []
        self._characters = 0
        """Of the texts in `_recent`."""
        self._floor: Position | None = None
        """`_recent` has every event after this position; None until the reader thread has begun."""
        self._thread: threading.Thread | None = None

    def enter(self) -> None:
        """Count a client, and start the reader thread if none runs."""
        with self.news:
            self.clients += 1
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._read, name="activity-tail", daemon=True)
                self._thread.start()

    def leave(self) -> None:
        """Count a client no longer."""
        with self.news:
            self.clients -= 1
            self.news.notify_all()

    def after(self, position: Position) -> list[Sent] | None:
        """Return the next page of events after a position; None if some of them are not in memory."""
        with self.news:
            if self._floor is None or position < self._floor:
                return None
            first = bisect_right(self._recent, position, key=attrgetter("position"))
            return self._recent[first : first + PAGE]

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
            self._thread, self._floor, self._recent, self._characters = None, None, [], 0
            return True

    def _step(self) -> None:
        try:
            if self._floor is None:
                self._floor = end_of_log()
            found = read_after(self._recent[-1].position if self._recent else self._floor)
        except Error as error:
            logger.warning("stream: database unavailable: %s", error)
            connection.close()
            found = []
        except Exception:  # of any kind: without this thread no client would get another event
            logger.exception("stream: the log cannot be read")
            found = []
        self._remember(found)
        if len(found) < PAGE:
            time.sleep(POLL_SECONDS)

    def _remember(self, found: list[Sent]) -> None:
        with self.news:
            self._recent += found
            self._characters += sum(len(each.text) for each in found)
            while self._characters > REMEMBERED_CHARACTERS:
                forgotten = self._recent.pop(0)
                self._floor = forgotten.position
                self._characters -= len(forgotten.text)
            if found:
                self.news.notify_all()


class Client:
    """One client's stream. It is an iterator, not a generator: a generator that never began would skip its clean-up."""

    def __init__(
        self,
        tail: Tail,
        *,
        position: Position,
        wanted: Callable[[Sent], bool],
        has_gone: Callable[[], bool] = lambda: False,
        may_stay: Callable[[], bool] = lambda: True,
    ) -> None:
        tail.enter()
        self._has_gone = has_gone
        self._may_stay = may_stay
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
        """Release the client's place; idempotent."""
        if self._is_open:
            self._is_open = False
            self._tail.leave()

    def _stream(self) -> Iterator[str]:
        time_limit.lift()
        yield f"retry: {RETRY_MS}\nid: {self._position.row_id}\n\n"
        ends_at = time.monotonic() + MAX_SECONDS
        quiet_since = admitted_at = time.monotonic()
        while self._is_open and time.monotonic() < ends_at and not (self._tail.is_stopping() or self._has_gone()):
            if time.monotonic() - admitted_at >= HEARTBEAT_SECONDS:
                if self._is_refused():
                    return
                admitted_at = time.monotonic()
            found = self._next()
            for each in filter(self._wanted, found):
                if time.monotonic() >= ends_at or self._tail.is_stopping():
                    return
                yield each.text
                quiet_since = time.monotonic()
            if found:
                self._position = found[-1].position
            if time.monotonic() - quiet_since >= HEARTBEAT_SECONDS:
                # With an id, from which a client that reconnects later resumes.
                yield f"id: {self._position.row_id}\n: heartbeat\n\n"
                quiet_since = time.monotonic()
            elif not found:
                with self._tail.news:
                    self._tail.news.wait(POLL_SECONDS)

    def _is_refused(self) -> bool:
        try:
            return not self._may_stay()
        except Error as error:  # what cannot be asked now is asked at the next heartbeat
            logger.warning("stream: database unavailable: %s", error)
            return False
        finally:
            connection.close()

    def _next(self) -> list[Sent]:
        found = self._tail.after(self._position)
        if found is None:
            try:
                found = read_after(self._position)
            except Error as error:
                logger.warning("stream: database unavailable: %s", error)
                found = []
        if len(found) < PAGE:
            connection.close()  # a client's thread may wait for minutes: it keeps no database connection meanwhile
        return found


process_tail = Tail()


def open_client(request: Request) -> Placed[str]:
    """Return the stream that the request asks for, from its `Last-Event-ID` on or from now on.

    Raises:
        NoPlace: this process has no place for another client.
        TooManyOfUser: the user follows it with as many clients as one may.
        ValidationError: an id or the kind of event is invalid.
    """
    task_id = _number(request.query_params.get("task"), name="task")
    event = request.query_params.get("event")
    if event is not None and event not in Event.values:
        raise ValidationError({"event": [_("Choose from: %(allowed)s.") % {"allowed": ", ".join(Event.values)}]})
    last = _number(request.headers.get("Last-Event-ID") or None, name="Last-Event-ID")

    def is_wanted(sent: Sent) -> bool:
        return (task_id is None or sent.task_id == task_id) and (event is None or sent.event == event)

    position = end_of_log() if last is None else position_of(last)
    with places.take(request.user.pk) as place:
        client = Client(
            process_tail,
            position=position,
            wanted=is_wanted,
            has_gone=partial(_has_hung_up, request.META),
            may_stay=admission(request),
        )
        return Placed(place, client)


def _has_hung_up(environment: dict[str, Any]) -> bool:
    """Return whether the client has disconnected, as far as its socket shows without a write."""
    peer = environment.get("gunicorn.socket")
    if not isinstance(peer, socket.socket) or isinstance(peer, ssl.SSLSocket):
        return False
    try:
        return peer.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _number(text: str | None, *, name: str) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(rf"[0-9]{{1,{MAX_DIGITS}}}", text):
        raise ValidationError({name: [_("Enter a whole number.")]})
    return int(text)
