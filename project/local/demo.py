"""The lesson's exercises, walked over real HTTP against a running stack; each step says what it saw.

`manage.py demo` prints the walk; the tests of the lesson take the same steps one by one. Requests of the API are the
commands of docs/uz/dars-14.md (`lesson_page`).
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from project.local import lesson_page
from project.local.demo_user import PASSWORD, USERNAME
from project.local.servers.process import wait_until
from project.local.stack import Stack

LINE_TIMEOUT_SECONDS = 30.0
REQUEST_TIMEOUT_SECONDS = 30.0
JWT_DOTS = 2

CREATED = "[Dramatiq] Yangi vazifa yaratildi: {title} (ID: {id}, Owner: user1)"
UPDATED = "Vazifa yangilandi: {title} (ID: {id}, Owner: user1)"
DELETED = "Vazifa o'chirildi: {title} (ID: {id}, Owner: user1)"


class StepFailed(Exception):
    """Raised when a step of the walk did not come out as it must; the message says what was seen instead."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One exercise: what is done, and the function that does it and returns what was seen."""

    title: str

    action: Callable[[], str]


class Walk:
    """The exercises, in the order of the lesson."""

    def __init__(self, stack: Stack, *, log: Path) -> None:
        self.stack = stack
        self.log = log
        self.token = ""
        self.client = httpx.Client(base_url=stack.url, timeout=REQUEST_TIMEOUT_SECONDS)
        self.browser = httpx.Client(base_url=stack.url, timeout=REQUEST_TIMEOUT_SECONDS, follow_redirects=True)

    def steps(self) -> Iterator[Step]:
        """Yield every step; each leans on those before it."""
        yield Step(title="Get a token", action=self.get_token)
        yield Step(title="Create a task: a worker logs it", action=self.create)
        yield Step(title="Update it: the signal logs it", action=self.update)
        yield Step(title="Read its history: both changes, numbered", action=self.read_history)
        yield Step(title="Delete it: the signal logs it", action=self.delete)
        yield Step(title="Create a task in the admin: a worker logs it", action=self.create_in_admin)
        yield Step(title="Create a task with the workers stopped: it waits", action=self.create_without_workers)
        yield Step(title="Start the workers: the line arrives", action=self.see_late_line)

    def get_token(self) -> str:
        self.token = self._run("token", then='echo "$TOKEN"').strip()
        if self.token.count(".") != JWT_DOTS:
            raise StepFailed(f"no token came, but {self.token!r}; is curl installed?")
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
            raise StepFailed(f"the history is another: {history}")
        return ", ".join(events)

    def delete(self) -> str:
        if answer := self._run("delete", task_id=self.task["id"]):
            raise StepFailed(f"the task was not deleted: {answer}")
        return self.wait_for_line(DELETED.format(**self.task))

    def create_in_admin(self) -> str:
        self._submit("admin/login/?next=/admin/", username=USERNAME, password=PASSWORD)
        form = self._form("admin/tasks/task/add/")
        page = self._submit("admin/tasks/task/add/", title="Admin vazifasi", description="", owner=form["owner"])
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
        """Say whether a line of the log ends with `line`."""
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()
        self.browser.close()

    def _create_task(self, name: str) -> dict[str, Any]:
        task = _object(self._run(name))
        if "id" not in task:
            raise StepFailed(f"no task was created: {task}")
        return task

    def _run(self, name: str, *, task_id: int = 1, then: str = "") -> str:
        try:
            return lesson_page.run(name, url=self.stack.url, token=self.token, task_id=task_id, then=then)
        except lesson_page.CommandFailed as error:
            raise StepFailed(str(error)) from error

    def _form(self, path: str) -> dict[str, str]:
        inputs = re.findall(r"<input[^>]*>", self.browser.get(path).text)
        named = ((re.search(r'name="([^"]+)"', field), re.search(r'value="([^"]*)"', field)) for field in inputs)
        return {name[1]: value[1] for name, value in named if name and value}

    def _submit(self, path: str, **fields: str) -> httpx.Response:
        token = self._form(path)["csrfmiddlewaretoken"]
        return self.browser.post(path, data={"csrfmiddlewaretoken": token, **fields})


def _object(text: str) -> dict[str, Any]:
    try:
        return dict(json.loads(text))
    except (TypeError, ValueError):
        raise StepFailed(f"the answer is no JSON object: {text[:200]!r}") from None
