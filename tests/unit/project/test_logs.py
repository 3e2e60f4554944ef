"""Log lines: whole, one for each event, for any title and any number of writing processes."""

import logging
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from io import StringIO
from pathlib import Path

import pytest
from django.test import Client

from actors.outbox.worker.log_buffer import buffered_lines
from project.local.stack import ROOT
from project.logs import LineFormatter, LineHandler, is_worth_a_line

LINES = 300
PROCESSES = 4


def record(message: str) -> logging.LogRecord:
    return logging.LogRecord("tasks.signals", logging.INFO, __file__, 1, message, None, None)


def append_lines(path: Path, letter: str) -> None:
    handler = LineHandler(str(path), StringIO())
    for number in range(LINES):
        handler.emit(record(f"{number} " + letter * 20_000))
    handler.close()


def test_lines_of_several_processes_never_mix(tmp_path: Path) -> None:
    path = tmp_path / "debug.log"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=append_lines, args=(path, letter)) for letter in "abcd"[:PROCESSES]]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    expected = {f"{number} " + letter * 20_000 for letter in "abcd"[:PROCESSES] for number in range(LINES)}
    lines = path.read_text().splitlines()
    assert len(lines) == PROCESSES * LINES
    assert set(lines) == expected


@pytest.mark.parametrize(
    ("title", "written"),
    [
        ("ikki\nqator", "ikki\\nqator"),
        ("qaytish\r", "qaytish\\r"),
        ("rang \x1b[31m", "rang \\x1b[31m"),
        ("yangi\x85qator\u2028", "yangi\\x85qator\\u2028"),
        ("yarim \ud800", "yarim \\ud800"),
        ("o'zbekcha oʻ, русский, 日本語 %s", "o'zbekcha oʻ, русский, 日本語 %s"),
    ],
)
def test_no_title_can_forge_a_line(title: str, written: str) -> None:
    assert LineFormatter("{message}", style="{").format(record(title)) == written


def test_a_traceback_keeps_its_lines() -> None:
    try:
        raise ValueError("wrong")
    except ValueError as error:
        failure = record("failed")
        failure.exc_info = (ValueError, error, error.__traceback__)
    lines = LineFormatter().format(failure).splitlines()
    assert (lines[0], lines[1], lines[-1]) == (
        "failed",
        "    Traceback (most recent call last):",
        "    ValueError: wrong",
    )


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("GET /tasks/?search=/static/ 200 3ms 127.0.0.1", True),
        ("POST /api/token/ 401 3ms 127.0.0.1", True),
        ("GET /static/admin/css/base.css 200 3ms 127.0.0.1", False),
        ("HEAD /health/live/ 200 3ms 127.0.0.1", False),
    ],
)
def test_access_lines_of_quiet_addresses_are_left_out(line: str, kept: bool) -> None:
    assert is_worth_a_line(record(line)) is kept


def test_what_a_client_did_wrong_is_no_line_of_djangos() -> None:
    assert not logging.getLogger("django.request").isEnabledFor(logging.WARNING)
    assert logging.getLogger("django.request").isEnabledFor(logging.ERROR)


def test_a_host_that_is_not_served_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    Client().get("/tasks/", headers={"host": "evil.example"})
    [refused] = caplog.records

    assert "Invalid HTTP_HOST header: 'evil.example'." in LineFormatter().format(refused)
    assert "Traceback" not in LineFormatter().format(refused)


def test_a_file_that_was_moved_away_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "debug.log"
    handler = LineHandler(str(path), StringIO())
    handler.emit(record("birinchi"))
    path.rename(tmp_path / "debug.log.1")
    handler.emit(record("ikkinchi"))
    handler.close()
    assert (tmp_path / "debug.log.1").read_text() == "birinchi\n"
    assert path.read_text() == "ikkinchi\n"


@pytest.mark.parametrize("command", [["manage.py", "check"], ["-m", "gunicorn", "--check-config", "project.wsgi"]])
def test_a_file_that_cannot_be_written_is_one_clear_line(tmp_path: Path, command: list[str]) -> None:
    log = tmp_path / "logs"
    log.mkdir()
    own = {"DJANGO_SETTINGS_MODULE": "settings.development", "ENV_FILE": os.devnull, "STATE_DIR": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, *command],
        env={**os.environ, **own, "LOG_FILE": str(log)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    [line] = run.stderr.splitlines()
    assert line.startswith(f"LOG_FILE, {log}, cannot be written: Is a directory: {log}. Set it to ")


@pytest.mark.parametrize("may_wait", [False, True])
def test_a_full_disk_interrupts_no_work_and_keeps_no_line_from_the_terminal(
    capsys: pytest.CaptureFixture[str], may_wait: bool
) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    terminal = StringIO()
    handler = LineHandler(os.fspath(full), terminal)
    with buffered_lines() if may_wait else nullcontext():
        handler.handle(record("yozib bo'lmaydi"))
    handler.close()
    assert terminal.getvalue() == "yozib bo'lmaydi\n"
    assert "No space left on device" in capsys.readouterr().err


@pytest.fixture
def both(tmp_path: Path) -> Iterator[tuple[logging.Logger, Path, StringIO]]:
    """A logger that writes to a file and to a terminal, as the service's does."""
    path, terminal = tmp_path / "debug.log", StringIO()
    handler = LineHandler(str(path), terminal)
    handler.setFormatter(LineFormatter("%(message)s"))
    logger = logging.Logger("both", logging.INFO)
    for each in (logger, logging.getLogger()):
        each.addHandler(handler)
    yield logger, path, terminal
    logging.getLogger().removeHandler(handler)


def test_lines_that_are_buffered_are_written_at_once(both: tuple[logging.Logger, Path, StringIO]) -> None:
    logger, file, terminal = both
    with buffered_lines():
        logger.info("a\nb")
        logger.info("c")
        assert (file.read_text(), terminal.getvalue()) == ("", "")
    assert (file.read_text(), terminal.getvalue()) == ("a\\nb\nc\n", "a\\nb\nc\n")
    logger.info("d")
    assert file.read_text() == terminal.getvalue() == "a\\nb\nc\nd\n"


def test_a_warning_is_written_at_once_and_overtakes_nothing(both: tuple[logging.Logger, Path, StringIO]) -> None:
    logger, file, terminal = both
    with buffered_lines():
        logger.info("before")
        logger.warning("now")
        logger.info("after")
        assert file.read_text() == terminal.getvalue() == "before\nnow\n"
    assert file.read_text() == terminal.getvalue() == "before\nnow\nafter\n"


def test_a_line_says_what_was_so_when_it_was_logged(both: tuple[logging.Logger, Path, StringIO]) -> None:
    logger, file, _terminal = both
    changing = ["a"]
    with buffered_lines():
        logger.info("%s", changing)
        changing.append("b")
    assert file.read_text() == "['a']\n"


def test_a_line_that_cannot_be_formatted_interrupts_no_work(
    both: tuple[logging.Logger, Path, StringIO], capsys: pytest.CaptureFixture[str]
) -> None:
    logger, file, _terminal = both
    logger.info("%d", "no number")
    logger.info("next")
    assert file.read_text() == "next\n"
    assert "--- Logging error ---" in capsys.readouterr().err
