"""The commands of the lesson's page are run unchanged, except for the address."""

import os
from pathlib import Path

import pytest

from project.local import lesson_page

URL = "http://127.0.0.1:9/"


@pytest.fixture
def curl(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A curl that prints its arguments."""
    program = tmp_path / "curl"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return program


@pytest.mark.usefixtures("curl")
def test_a_command_is_run_with_the_stack_s_address_the_task_s_id_and_the_token() -> None:
    arguments = lesson_page.run("update", url=URL, token="t.o.k", task_id=7).splitlines()
    assert arguments == [
        *("-s", "-X", "PATCH", f"{URL}tasks/7/", "-H", "Authorization: Bearer t.o.k"),
        *("-H", "Content-Type: application/json", "-d", '{"completed": true}'),
    ]


def test_the_page_s_own_filter_finds_the_access_token(curl: Path) -> None:
    curl.write_text("""#!/bin/sh\necho '{"refresh":"r.r.r","access":"a.b.c"}'\n""")
    assert lesson_page.run("token", url=URL, token="", then='echo "$TOKEN"') == "a.b.c\n"


def test_a_command_that_fails_says_why_in_one_line(curl: Path) -> None:
    curl.write_text("#!/bin/sh\necho 'warning' >&2\necho 'curl: no' >&2\nexit 7\n")
    with pytest.raises(lesson_page.StepFailed, match=r"^dars-14.md, create: curl: no$"):
        lesson_page.run("create", url=URL, token="t.o.k")
