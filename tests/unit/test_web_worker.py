"""The web server's one thread that must never wait for a client does not."""

from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.workers.gthread import ThreadWorker

from project.web_worker import Worker


class Connection(SimpleNamespace):
    """Counts how often it is closed, and may be closed already."""

    closed = 0
    is_broken = False

    def close(self, graceful: bool = False) -> None:
        self.closed += 1
        if self.is_broken:
            raise OSError(9, "Bad file descriptor")


@pytest.mark.parametrize("is_broken", [False, True])
@pytest.mark.parametrize(("stays_open", "times"), [(False, 1), (True, 0)])
def test_a_connection_is_closed_once_where_its_request_was_answered(
    monkeypatch: pytest.MonkeyPatch, is_broken: bool, stays_open: bool, times: int
) -> None:
    monkeypatch.setattr(ThreadWorker, "handle", lambda worker, connection: stays_open)
    connection: Any = Connection(is_broken=is_broken)

    assert Worker.handle(Worker.__new__(Worker), connection) is stays_open
    assert connection.closed == times
    if not stays_open:
        connection.close(graceful=True)  # as gunicorn's one thread does afterwards
        assert connection.closed == 1
