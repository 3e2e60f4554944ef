"""The environment and its file: what is wrong with them ends any program with one line that says where."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from settings import environment
from settings.environment import BadSetting
from tests.unit.project.test_environment_example import variables_documented
from tests.unit.project.test_settings import DEVELOPMENT, PRODUCTION, run

# Any text can be the value of these, or another program reads them.
FREE = {
    "ALLOWED_HOSTS",
    "BIND",  # gunicorn says what is wrong with it
    "ENV_FILE",
    "LOG_FILE",
    "POSTGRES_PASSWORD",
    "RABBITMQ_PASSWORD",
    "SECRET_KEY",
    "STATE_DIR",
    "STATIC_ROOT",
    "VALKEY_PASSWORD",
}
READ_ELSEWHERE = {
    "settings.development": {
        "CSRF_TRUSTED_ORIGINS",
        "PORT",  # by `manage.py up`
        "SECURE_HSTS_INCLUDE_SUBDOMAINS",
        "SECURE_HSTS_PRELOAD",
        "SECURE_HSTS_SECONDS",
        "SECURE_SSL_REDIRECT",
    },
    "settings.production": {"DEBUG", "PORT", "RABBITMQ_MANAGEMENT_URL"},
}

# Reads all settings, and gunicorn's configuration, once with each variable at a value that means nothing.
TRY_ALL = """
import json, os, runpy, sys
from django.conf import empty, settings

said = {}
for name in sys.argv[1:]:
    before = os.environ.get(name)
    for value in ("no such value", ""):
        os.environ[name] = value
        for module in [each for each in sys.modules if each.startswith("settings")]:
            del sys.modules[module]
        settings._wrapped = empty
        try:
            runpy.run_path("gunicorn.conf.py")
        except SystemExit as error:
            said.setdefault(name, []).append(str(error))
    del os.environ[name]
    if before is not None:
        os.environ[name] = before
print(json.dumps(said))
"""


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file of variables, which a test may load into an environment of its own."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "environ", dict(os.environ))
        yield tmp_path / "mine.env"


@pytest.mark.parametrize("settings", [DEVELOPMENT, PRODUCTION], ids=["development", "production"])
def test_every_variable_refuses_a_value_of_another_kind_in_one_line_that_names_it(settings: dict[str, str]) -> None:
    names = variables_documented().keys() - FREE - READ_ELSEWHERE[settings["DJANGO_SETTINGS_MODULE"]]
    tried = run("-c", TRY_ALL, *sorted(names), **settings)
    assert tried.stderr == ""
    said = json.loads(tried.stdout)
    assert said.keys() == names
    wrong = [text for name, texts in said.items() for text in texts if name not in text or "\n" in text]
    assert wrong == []


@pytest.mark.parametrize(
    "program",
    [
        ["manage.py", "check"],
        ["manage.py", "up"],
        ["manage.py", "rundramatiq"],
        ["-m", "gunicorn", "project.wsgi"],
        ["-m", "bench", "--help"],
    ],
    ids=" ".join,
)
def test_every_program_says_so_in_one_line(scratch: Path, program: list[str]) -> None:
    scratch.write_text("# mine\n\nLOG_LANGUAGE ru\n")
    ended = run(*program, **DEVELOPMENT, ENV_FILE=str(scratch))
    text = "this is not NAME=value, or a quote is not closed. Correct it or begin it with #."
    assert (ended.returncode, ended.stderr) == (1, f"{scratch}, line 3: {text}\n")


def test_a_value_is_refused_with_the_line_that_sets_it(scratch: Path) -> None:
    scratch.write_text("LOG_LANGUAGE=ru\n\n\nexport MAX_RETRIES='many'\n")
    ended = run("-m", "gunicorn", "project.wsgi", **DEVELOPMENT, ENV_FILE=str(scratch))
    text = f"MAX_RETRIES ({scratch}, line 4): Not a valid integer. See .env.example.\n"
    assert (ended.returncode, ended.stderr) == (1, text)
    ended = run("manage.py", "check", **DEVELOPMENT, ENV_FILE=str(scratch), MAX_RETRIES="few")
    assert (ended.returncode, ended.stderr) == (1, "MAX_RETRIES: Not a valid integer. See .env.example.\n")


@pytest.mark.parametrize(
    ("written", "line"),
    [
        (b"A_NAME\n", 1),
        (b"OTHER=1\n\n \nA_NAME\n", 4),
        (b"OTHER=1\r\n\r\nA NAME=1\r\n", 3),
        (b"OTHER=1\n=1\n", 2),
        (b"OTHER='1\nA_NAME=2\n", 1),
        (b"# a comment\nOTHER='1' 2\n", 2),
    ],
)
def test_a_line_that_sets_nothing_is_refused(scratch: Path, written: bytes, line: int) -> None:
    scratch.write_bytes(written)
    with pytest.raises(BadSetting, match=f"mine.env, line {line}: this is not NAME=value"):
        environment.load(scratch)


@pytest.mark.parametrize(
    ("written", "line"),
    [
        ("A_NAME=ў\n".encode("cp1251"), 1),
        ("OTHER=1\n\nA_NAME=ў\n".encode("cp1251"), 3),
        ("A_NAME=1\n".encode("utf-16"), 1),
        ("A_NAME=1\n".encode("utf-16-le"), 1),
        (b"OTHER=1\nA_NAME=\0\n", 2),
    ],
)
def test_a_file_in_another_encoding_is_refused(scratch: Path, written: bytes, line: int) -> None:
    scratch.write_bytes(written)
    with pytest.raises(BadSetting, match=f"mine.env, line {line}: this is not text in UTF-8"):
        environment.load(scratch)


def test_what_is_right_is_loaded(scratch: Path) -> None:
    text = "\ufeffA_NAME='Oʻzbekcha'\n\n# a comment\nexport OTHER=a#b # a comment\nEMPTY=\nHOME=elsewhere\n"
    scratch.write_text(text, "utf-8")
    home = os.environ["HOME"] = "here"
    assert environment.load(scratch) == {"A_NAME": 1, "OTHER": 4, "EMPTY": 5}
    names = ("A_NAME", "OTHER", "EMPTY", "HOME")
    assert [os.environ[name] for name in names] == ["Oʻzbekcha", "a#b", "", home]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("missing.env", "ENV_FILE is {file}, which does not exist. Correct it, or unset it to have .env."),
        ("", "{file} cannot be read: Is a directory. Make it a file that this user may read."),
    ],
)
def test_a_file_that_is_named_and_cannot_be_read_is_refused(tmp_path: Path, file: str, text: str) -> None:
    named = tmp_path / file
    ended = run("manage.py", "check", **DEVELOPMENT, ENV_FILE=str(named))
    assert (ended.returncode, ended.stderr) == (1, f"{text.format(file=named)}\n")


def test_without_a_file_nothing_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENV_FILE", raising=False)
    assert environment.load(tmp_path / ".env") == {}


def test_a_misspelt_name_is_a_warning_once(scratch: Path) -> None:
    scratch.write_text("RABITMQ_URL=amqp://a:b@host/\nlog_languge=ru\nMINE=1\nLOG_LANGUAGE=ru\nHTTPS_PROXY=none\n")
    say = "import subprocess, sys, settings.environment; subprocess.run([sys.executable, '-c', 'import settings.base'])"
    said = run("-c", say, ENV_FILE=str(scratch)).stderr.splitlines()
    assert said == [
        f"{scratch}, line 1: RABITMQ_URL is unknown. Is it meant to be RABBITMQ_URL?",
        f"{scratch}, line 2: log_languge is unknown. Is it meant to be LOG_LANGUAGE?",
    ]


@pytest.mark.parametrize("state", ["/dev/null/var", "/proc/none/var"])
def test_a_folder_that_cannot_be_made_is_refused(state: str) -> None:
    ended = run("manage.py", "up", **DEVELOPMENT, STATE_DIR=state)
    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    assert line.startswith(f"STATE_DIR: {state} cannot be made (")
