"""The lesson's exercises, walked over real HTTP against a running stack; each step says what it saw.

`manage.py demo` prints the walk; the tests of the lesson take the same steps one by one.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from project.local.demo_user import PASSWORD, USERNAME
from project.local.servers.process import wait_until
from project.local.stack import Stack

TITLE = "Yangi vazifa"
LINE_TIMEOUT_SECONDS = 30.0
REQUEST_TIMEOUT_SECONDS = 30.0

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
        self.client = httpx.Client(base_url=stack.url, timeout=REQUEST_TIMEOUT_SECONDS)
        self.browser = httpx.Client(base_url=stack.url, timeout=REQUEST_TIMEOUT_SECONDS, follow_redirects=True)

    def steps(self) -> Iterator[Step]:
        """Yield every step; each leans on those before it."""
        yield Step(title="Get a token", action=self.get_token)
        yield Step(title="Create a task: a worker logs it", action=self.create)
        yield Step(title="Update it: the signal logs it", action=self.update)
        yield Step(title="Delete it: the signal logs it", action=self.delete)
        yield Step(title="Create a task in the admin: a worker logs it", action=self.create_in_admin)
        yield Step(title="Create a task with the workers stopped: it waits", action=self.create_without_workers)
        yield Step(title="Start the workers: the line arrives", action=self.see_late_line)

    def get_token(self) -> str:
        answer = self.client.post("api/token/", json={"username": USERNAME, "password": PASSWORD})
        self.client.headers["Authorization"] = f"Bearer {_expect(answer, 200)['access']}"
        return f"200, access and refresh token for {USERNAME}"

    def create(self) -> str:
        self.task = self._create_task(TITLE)
        return self.wait_for_line(CREATED.format(**self.task))

    def update(self) -> str:
        _expect(self.client.patch(f"tasks/{self.task['id']}/", json={"completed": True}), 200)
        return self.wait_for_line(UPDATED.format(**self.task))

    def delete(self) -> str:
        _expect(self.client.delete(f"tasks/{self.task['id']}/"), 204)
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
        self.late_task = self._create_task("Kechikkan vazifa")
        if self.has_line(CREATED.format(**self.late_task)):
            raise StepFailed("the line was written although no worker runs")
        return f"201, task {self.late_task['id']} is there, its line is not"

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

    def _create_task(self, title: str) -> dict[str, Any]:
        return _expect(self.client.post("tasks/", json={"title": title, "description": "Test vazifa"}), 201)

    def _form(self, path: str) -> dict[str, str]:
        inputs = re.findall(r"<input[^>]*>", self.browser.get(path).text)
        named = ((re.search(r'name="([^"]+)"', field), re.search(r'value="([^"]*)"', field)) for field in inputs)
        return {name[1]: value[1] for name, value in named if name and value}

    def _submit(self, path: str, **fields: str) -> httpx.Response:
        token = self._form(path)["csrfmiddlewaretoken"]
        return self.browser.post(path, data={"csrfmiddlewaretoken": token, **fields})


def _expect(answer: httpx.Response, status: int) -> dict[str, Any]:
    if answer.status_code != status:
        raise StepFailed(f"{answer.request.method} {answer.request.url} answered {answer.status_code}: {answer.text}")
    return dict(answer.json()) if answer.content else {}
