"""One scenario: its random numbers, its load, and the assertions after its fault."""

import random
import re
import time
from dataclasses import dataclass, field
from typing import Any, LiteralString

import psycopg

from project.local.servers.errors import ServerError
from project.local.servers.process import wait_until
from tests.chaos.load import Load
from tests.chaos.passes import Pass
from tests.chaos.report import Line, Report
from tests.chaos.service import Service

QUEUES_TIMEOUT_SECONDS = 60.0
QUEUES = ("activity", "activity.XQ", "bulk", "bulk.XQ")
LAST: LiteralString = """
SELECT coalesce(greatest((SELECT max(id) FROM tasks_task), (SELECT max(task_id) FROM actors_activity)), 0)
"""
COMMITTED: LiteralString = """
SELECT id FROM tasks_task WHERE id > %s
UNION SELECT task_id FROM actors_activity WHERE event = 'task.deleted' AND task_id > %s
"""
LINE = re.compile(r"\[Dramatiq\] .*\(ID: (\d+), Owner: user1\)")


@dataclass(kw_only=True)
class Scenario:
    """A test's means to break the service and to check it afterwards."""

    name: str

    seed: int

    service: Service

    length: Pass

    report: Report

    loads: list[Load] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self._last_task = self.service.count(LAST)
        self._log_begins_at = self.service.log.stat().st_size if self.service.log.exists() else 0

    def load(self) -> Load:
        """Return clients that create tasks, to be entered."""
        load = Load(self.service.stack, pause_seconds=self.length.pause_seconds)
        self.loads.append(load)
        return load

    def a_few(self) -> int:
        """Return a random number of creates."""
        return self.chance.randint(5, self.length.creates // 2)

    def note(self, text: str) -> None:
        """Add a note to the report of the pass."""
        self.report.notes.append(f"{self.name}: {text}")

    def assert_all_is_logged(self) -> None:
        """After the fault, wait until every message is settled, and compare created tasks with logged ones."""
        for load in self.loads:
            load.repeat_unanswered()
        over_at = time.monotonic()
        drained = wait_until(self._owes_nothing, timeout_seconds=self.length.recovery_timeout_seconds)
        recovery = time.monotonic() - over_at if drained else None
        committed = self._ids(COMMITTED)
        activities = self._ids("SELECT task_id FROM actors_activity WHERE event = 'task.created' AND task_id > %s")
        logged = set(activities) & self._lines()
        line = Line(
            scenario=self.name,
            seed=self.seed,
            created=len(committed),
            logged=len(logged),
            lost=len(set(committed) - logged),
            doubled=len(activities) - len(set(activities)),
            recovery_seconds=recovery,
        )
        self.report.lines.append(line)
        assert drained, f"the outbox is not empty: {self.service.states()}, queues {self.service.queues()}"
        assert self.dead_letters() == [], "healthy messages have died"
        created = {task for load in self.loads for task in load.created}
        assert created <= set(committed), "created, and not committed"
        over_http = self._ids(
            "SELECT task_id FROM actors_activity WHERE title = 'HTTP' AND version = 1 AND task_id > %s"
        )
        assert set(over_http) == created, "of one key two tasks were made"
        assert line.lost == 0, sorted(set(committed) - logged)[:10]
        assert line.doubled == 0, "an activity was logged twice"
        assert set(activities) <= set(committed), "an activity of a task that was not committed"
        self.service.stack.manage("activity", "verify")
        self.assert_queues_are_empty()

    def assert_queues_are_empty(self) -> None:
        """Assert that no message is left in RabbitMQ, ready or unacknowledged, work or dead letter."""
        in_time = wait_until(self._queues_are_empty, timeout_seconds=QUEUES_TIMEOUT_SECONDS)
        assert in_time, f"left in RabbitMQ: {self.service.queues()}"

    def wait_until_nothing_is_owed(self) -> None:
        """Wait until every message is settled, or dead."""
        in_time = wait_until(self._owes_nothing, timeout_seconds=self.length.recovery_timeout_seconds)
        assert in_time, f"the outbox is not empty: {self.service.states()}"

    def wait_until_published(self, count: int) -> None:
        """Wait until at least as many messages are published, and none is in another state."""

        def all_are() -> bool:
            states = self.service.states()
            return set(states) == {"published"} and states["published"] >= count

        in_time = wait_until(all_are, timeout_seconds=self.length.recovery_timeout_seconds)
        assert in_time, f"not all of {count} are published: {self.service.states()}"

    def wait_until_queued(self, count: int) -> None:
        """Wait until RabbitMQ counts at least as many messages for the workers; its counts lag."""
        in_time = wait_until(
            lambda: (self.service.ready("activity").messages or 0) >= count, timeout_seconds=QUEUES_TIMEOUT_SECONDS
        )
        assert in_time, f"fewer than {count} in RabbitMQ: {self.service.queues()}"

    def create_in_bulk(self, count: int) -> None:
        """Create many tasks at once, each with its message."""
        self.service.send(
            "from django.contrib.auth.models import User",
            "from django.db import transaction",
            "from tasks.models import Task",
            "owner = User.objects.get(username='user1')",
            "with transaction.atomic():",
            f"    for _ in range({count}): Task.objects.create(title='Yuk', owner=owner)",
        )

    def wait_for_dead(self, count: int) -> list[tuple[Any, ...]]:
        """Wait until as many messages are dead letters; return actor, reason and traceback of each."""
        statement = "SELECT count(*) FROM outbox_outboxmessage WHERE state = 'dead'"
        in_time = wait_until(
            lambda: self.service.count(statement) >= count, timeout_seconds=self.length.recovery_timeout_seconds
        )
        assert in_time, f"fewer than {count} have died: {self.service.states()}"
        return self.dead_letters()

    def dead_letters(self) -> list[tuple[Any, ...]]:
        """Return actor, reason and traceback of each dead letter."""
        return self.service.query("SELECT actor, reason, traceback FROM outbox_outboxmessage WHERE state = 'dead'")

    def discard_dead(self) -> None:
        """Discard the dead letters that the scenario has made on purpose and checked."""
        self.service.stack.manage("deadletters", "discard", *self._dead(), "--why", self.name)

    def replay_dead(self) -> None:
        """Replay the dead letters."""
        self.service.stack.manage("deadletters", "replay", *self._dead(), "--why", self.name)

    def _dead(self) -> list[str]:
        rows = self.service.query("SELECT id FROM outbox_outboxmessage WHERE state = 'dead' ORDER BY id")
        return [str(row_id) for (row_id,) in rows]

    def _owes_nothing(self) -> bool:
        try:
            return set(self.service.states()) <= {"dead"}
        except psycopg.OperationalError:
            return False

    def _queues_are_empty(self) -> bool:
        if any(self.service.ready(queue).messages != 0 for queue in QUEUES):
            return False
        try:
            return not any(self.service.queues().values())
        except ServerError:
            return False

    def _ids(self, statement: LiteralString) -> list[int]:
        return [row[0] for row in self.service.query(statement, *[self._last_task] * statement.count("%s"))]

    def _lines(self) -> set[int]:
        with self.service.log.open("rb") as log:
            log.seek(self._log_begins_at)
            text = log.read().decode("utf-8", "replace")
        return {int(match[1]) for match in LINE.finditer(text)}
