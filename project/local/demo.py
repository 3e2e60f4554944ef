"""The lesson's exercises, walked over real HTTP against a running stack; each step returns what it saw.

`manage.py demo` prints the walk; the lesson's tests take the same steps one by one. The requests to the API are the
commands of docs/uz/dars-14.md (`lesson_page`).
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import httpx

from project.local import lesson_page
from project.local.demo_user import PASSWORD, USERNAME
from project.local.lesson_page import StepFailed
from project.local.servers.process import wait_until
from project.local.stack import Stack

LINE_TIMEOUT_SECONDS = 30.0
REQUEST_TIMEOUT_SECONDS = 30.0
JWT_DOTS = 2

CREATED = "[Dramatiq] Yangi vazifa yaratildi: {title} (ID: {id}, Owner: user1)"
UPDATED = "Vazifa yangilandi: {title} (ID: {id}, Owner: user1)"
DELETED = "Vazifa o'chirildi: {title} (ID: {id}, Owner: user1)"


class Walk:
    """The exercises, in the order of the lesson."""

    def __init__(self, stack: Stack, *, log: Path) -> None:
        self.stack = stack
        self.log = log
        self.token = ""
        self.client = httpx.Client(base_url=stack.url, timeout=REQUEST_TIMEOUT_SECONDS)
        self.browser = httpx.Client(base_url=stack.url, timeout=REQUEST_TIMEOUT_SECONDS, follow_redirects=True)

    def steps(self) -> Iterator[tuple[str, Callable[[], str]]]:
        """Yield each step's title, and the function that takes it and says what it saw; a step needs those before."""
        yield "Get a token", self.get_token
        yield "Create a task: a worker logs it", self.create
        yield "Update it: the signal logs it", self.update
        yield "Read its history: both changes, numbered", self.read_history
        yield "Delete it: the signal logs it", self.delete
        yield "Create a task in the admin: a worker logs it", self.create_in_admin
        yield "Create a task with the workers stopped: it waits", self.create_without_workers
        yield "Start the workers: the line arrives", self.see_late_line

    def get_token(self) -> str:
        self.token = self._run("token", then='echo "$TOKEN"').strip()
        if self.token.count(".") != JWT_DOTS:
            raise StepFailed(f"the answer has no token: {self.token!r}; is curl installed?")
        self.client.headers["Authorization"] = f"Bearer {self.token}"
        return f"an access token for {USERNAME}"

    def create(self) -> str:
        self.task = self._create_task("create")
        return self.wait_for_line(CREATED.format(**self.task))

    def update(self) -> str:
        updated = _object(self._run("update", task_id=self.task["id"]))
        if updated.get("completed") is not True:
            raise StepFailed(f"the task is not completed: {updated}")
        return self.wait_for_line(UPDATED.format(**self.task))

    def read_history(self) -> str:
        history = _object(self._run("history", task_id=self.task["id"]))
        events = [f"{event['version']} {event['event']}" for event in history.get("results", ())]
        if events != ["2 task.updated", "1 task.created"]:
            raise StepFailed(f"the history has other events: {history}")
        return ", ".join(events)

    def delete(self) -> str:
        if answer := self._run("delete", task_id=self.task["id"]):
            raise StepFailed(f"the task was not deleted: {answer}")
        return self.wait_for_line(DELETED.format(**self.task))

    def create_in_admin(self) -> str:
        self._submit("admin/login/?next=/admin/", username=USERNAME, password=PASSWORD)
        page = self._submit("admin/tasks/task/add/", title="Admin vazifasi", description="")
        if "/admin/tasks/task/" not in str(page.url) or str(page.url).endswith("add/"):
            raise StepFailed(f"the admin refused the task, it shows {page.url}")
        task = self.client.get("tasks/", params={"search": "Admin vazifasi"}).json()["results"][0]
        return self.wait_for_line(CREATED.format(**task))

    def create_without_workers(self) -> str:
        self.stack.supervisor.stop_program("worker")
        self.late_task = self._create_task("late")
        if self.has_line(CREATED.format(**self.late_task)):
            raise StepFailed("the line was written although no worker runs")
        return f"task {self.late_task['id']} is there, its line is not"

    def see_late_line(self) -> str:
        self.stack.supervisor.start_program("worker")
        return self.wait_for_line(CREATED.format(**self.late_task))

    def has_line(self, line: str) -> bool:
        """Return whether a line of the log ends with `line`."""
        return any(written.endswith(line) for written in self.log.read_text("utf-8").splitlines())

    def wait_for_line(self, line: str) -> str:
        """Return `line` once the log has it.

        Raises:
            StepFailed: it has not arrived within half a minute.
        """
        if not wait_until(lambda: self.has_line(line), timeout_seconds=LINE_TIMEOUT_SECONDS):
            raise StepFailed(f"{self.log} has no line {line!r}")
        return line

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.client.close()
        self.browser.close()

    def _create_task(self, name: str) -> dict[str, Any]:
        task = _object(self._run(name))
        if "id" not in task:
            raise StepFailed(f"no task was created: {task}")
        return task

    def _run(self, name: str, *, task_id: int = 1, then: str = "") -> str:
        return lesson_page.run(name, url=self.stack.url, token=self.token, task_id=task_id, then=then)

    def _submit(self, path: str, **fields: str) -> httpx.Response:
        """Fill in a form of the admin, and send it with the values that it already has."""
        inputs = re.findall(r'<input (?!type="submit")[^>]*>', self.browser.get(path).text)
        named = ((re.search(r'name="([^"]+)"', field), re.search(r'value="([^"]*)"', field)) for field in inputs)
        given = {name[1]: value[1] for name, value in named if name and value}
        return self.browser.post(path, data={**given, **fields})


def _object(text: str) -> dict[str, Any]:
    try:
        return dict(json.loads(text))
    except (TypeError, ValueError):
        raise StepFailed(f"the answer is no JSON object: {text[:200]!r}") from None
