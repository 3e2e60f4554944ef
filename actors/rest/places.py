"""Places for responses that are generated while their client reads: each occupies a thread until the client has it.

Guarantee: of one kind of these responses a process sends no more at a time than there are places, nor more to one user
than a user may have. The web server has a thread for each place, on top of those for other requests.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, Self, TypeVar

from rest_framework import status
from rest_framework.exceptions import APIException

Part = TypeVar("Part")

WAIT_SECONDS = 5


class NoPlace(APIException):
    """Raised when all places are taken."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "no_place"
    wait = WAIT_SECONDS  # sent as Retry-After


class TooManyOfUser(APIException):
    """Raised when a user has taken as many places as one may."""

    status_code = status.HTTP_429_TOO_MANY_REQUESTS
    default_code = "too_many_of_user"
    wait = WAIT_SECONDS


class Place:
    """A place that was taken. As a context it is released only if the block fails: a response then keeps it."""

    def __init__(self, release: Callable[[], None]) -> None:
        self._release = release
        self._is_taken = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        if kind is not None:
            self.leave()

    def leave(self) -> None:
        """Release it; idempotent."""
        if self._is_taken:
            self._is_taken = False
            self._release()


class Places:
    """The places of a process for one kind of response."""

    def __init__(self, *, total: Callable[[], int], each: Callable[[], int], full: Any, own: Any) -> None:
        """Begin with all places free.

        Args:
            total: returns how many places there are.
            each: returns how many of them one user may have.
            full: the text for a client that finds no place.
            own: the text for a user who has as many as one may.
        """
        self._total, self._each, self._full, self._own = total, each, full, own
        self._lock = threading.Lock()
        self._taken: Counter[Any] = Counter()

    def take(self, user_id: Any) -> Place:
        """Take a place for a user.

        Raises:
            TooManyOfUser: the user has as many as one may.
            NoPlace: no place is free.
        """
        with self._lock:
            if self._total() and self._taken[user_id] >= self._each():
                raise TooManyOfUser(self._own)
            if self._taken.total() >= self._total():
                raise NoPlace(self._full)
            self._taken[user_id] += 1
        return Place(lambda: self._leave(user_id))

    def _leave(self, user_id: Any) -> None:
        with self._lock:
            self._taken[user_id] -= 1
            self._taken += Counter()  # without users who have none


class Placed(Generic[Part]):
    """The parts of a response that has a place. No generator: one that never began would skip its clean-up."""

    def __init__(self, place: Place, parts: Iterable[Part]) -> None:
        self._place, self._parts = place, iter(parts)

    def __iter__(self) -> Iterator[Part]:
        return self

    def __next__(self) -> Part:
        return next(self._parts)

    def close(self) -> None:
        """End the parts, and release the place; idempotent."""
        try:
            if (close := getattr(self._parts, "close", None)) is not None:
                close()
        finally:
            self._place.leave()
