"""Runs the commands of docs/uz/dars-14.md, unchanged, against a running stack.

Guarantee: the demo runs the commands that a reader of the page pastes; only the address and the task's id differ.
"""

import os
import re
import subprocess
from functools import cache

from project.local.servers.ports import LOOPBACK
from project.local.stack import ROOT

PAGE = ROOT / "docs/uz/dars-14.md"
ADDRESS = "http://127.0.0.1:8000/"
TASK = "/tasks/1/"
TIMEOUT_SECONDS = 30.0
BLOCK = re.compile(r"<!-- demo: (\w+) -->\n```bash\n(.*?)```", re.DOTALL)


class StepFailed(Exception):
    """Raised when a step of the lesson failed; the message says what was seen instead."""


@cache
def commands() -> dict[str, str]:
    """Return the commands that the page marks for the demo, by name."""
    return dict(BLOCK.findall(PAGE.read_text("utf-8")))


def run(name: str, *, url: str, token: str, task_id: int = 1, then: str = "") -> str:
    """Run a command in a shell and return what it prints.

    Args:
        name: its name on the page.
        url: of the stack, in place of the page's address.
        token: the value of `$TOKEN`, which an earlier command of the page has set.
        task_id: in place of the page's first task.
        then: another command, which the same shell runs afterwards.

    Raises:
        StepFailed: it exits with an error or does not end in time, or curl is missing.
    """
    script = commands()[name].replace(ADDRESS, url).replace(TASK, f"/tasks/{task_id}/") + then
    # The user's own configuration of curl is not read.
    environment = {**os.environ, "TOKEN": token, "no_proxy": LOOPBACK, "CURL_HOME": os.devnull}
    try:
        shell = subprocess.run(
            ["sh", "-ec", script], env=environment, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise StepFailed(f"{PAGE.name}, {name}: no answer in {TIMEOUT_SECONDS} s") from None
    if shell.returncode:
        lines = shell.stderr.strip().splitlines() or [f"exit status {shell.returncode}"]
        raise StepFailed(f"{PAGE.name}, {name}: {lines[-1]}")
    return shell.stdout
