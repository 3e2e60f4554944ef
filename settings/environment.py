"""The environment: the process's variables and, where one is not set, those of `.env` in the project's root.

Every settings module reads through `env`.
Guarantee: a file that cannot be read, a line of it that sets nothing, and a value of the wrong kind end the process,
whatever program it runs, with one line that names the variable, or file and line, and says what to do (`BadSetting`).
"""

import io
import os
import re
import sys
from collections.abc import Callable
from difflib import get_close_matches
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

from dotenv import load_dotenv
from dotenv.parser import parse_stream
from environs import Env, EnvValidationError

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / ".env.example"
SIMILARITY = 0.8  # of two names, from 0 to 1, from which on one may be the other, misspelt

_Read = TypeVar("_Read", bound=Callable[..., Any])


class BadSetting(SystemExit):
    """Raised when the environment cannot be used: ends the process with status 1 and one line.

    Not an Exception: every program, gunicorn included, would print its traceback.
    """


def _checked(read: _Read) -> _Read:
    @wraps(read)
    def method(self: Env, name: str, *arguments: Any, **options: Any) -> Any:
        try:
            return read(self, name, *arguments, **options)
        except EnvValidationError as error:
            reason = " ".join(map(str, error.error_messages)) if os.environ[name] else "it is empty"
            raise BadSetting(f"{source(name)}: {reason.rstrip('.')}. See .env.example.") from error

    return cast(_Read, method)


class _Environment(Env):
    """Reads variables; a value of the wrong kind is a `BadSetting`."""

    str = _checked(Env.str)
    int = _checked(Env.int)
    float = _checked(Env.float)
    bool = _checked(Env.bool)
    list = _checked(Env.list)
    path = _checked(Env.path)


def source(name: str) -> str:
    """Return a variable's name with the file and the line that set it, if one did."""
    return f"{name} ({_file}, line {_lines[name]})" if name in _lines else name


def require(*names: str) -> None:
    """Demand that every variable in `names` is set and not empty.

    Raises:
        BadSetting: naming all that are missing, in one message.
    """
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        raise BadSetting(
            f"Missing from the environment: {', '.join(missing)}. Set them as .env.example shows, and start again."
        )


def load(file: Path) -> dict[str, int]:
    """Set the variables of a file that the process does not have; return the line of each.

    In the process's environment, which the programs that it starts and the libraries that it uses read too.

    Raises:
        BadSetting: the file cannot be read, or a line of it sets nothing.
    """
    text, lines = _read(file), {}
    for binding in parse_stream(io.StringIO(text)):
        written = binding.original.string
        line = binding.original.line + written[: len(written) - len(written.lstrip())].count("\n")
        if binding.error or (binding.key and binding.value is None):
            raise BadSetting(
                f"{file}, line {line}: this is not NAME=value, or a quote is not closed. Correct it or begin it with #."
            )
        if binding.key and binding.key not in os.environ:
            lines[binding.key] = line
    load_dotenv(stream=io.StringIO(text))
    return lines


def _read(file: Path) -> str:
    try:
        written = file.read_bytes()
    except FileNotFoundError:
        if not os.environ.get("ENV_FILE"):
            return ""
        raise BadSetting(f"ENV_FILE is {file}, which does not exist. Correct it, or unset it to have .env.") from None
    except OSError as error:
        raise BadSetting(f"{file} cannot be read: {error.strerror}. Make it a file that this user may read.") from error
    try:
        text = written.decode("utf-8")
        if "\0" not in text:
            return text
        position = written.index(b"\0")
    except UnicodeDecodeError as error:
        position = error.start
    line = written.count(b"\n", 0, position) + 1
    raise BadSetting(f"{file}, line {line}: this is not text in UTF-8. Save the file in that encoding.")


def _warn_of_misspelt_names() -> None:
    """Name each variable of the file that the service does not know, and that is nearly one that it does."""
    known = re.findall(r"^# ([A-Z][A-Z0-9_]*)=", EXAMPLE.read_text("utf-8"), re.MULTILINE) if EXAMPLE.exists() else []
    for name, line in _lines.items():
        near = get_close_matches(name.upper(), known, n=1, cutoff=SIMILARITY)
        if near and name not in known:
            print(f"{_file}, line {line}: {name} is unknown. Is it meant to be {near[0]}?", file=sys.stderr)


_file = Path(os.environ.get("ENV_FILE") or ROOT / ".env")
_lines = load(_file)
if _lines:
    _warn_of_misspelt_names()
env = _Environment()

# Everything that `make run` keeps: database, RabbitMQ's data, logs, caches.
VAR = env.path("STATE_DIR", ROOT / "var").absolute()

# The address of the RabbitMQ node that `make run` runs, its password included; the file is there while the node runs.
PRIVATE_NODE = VAR / "rabbitmq-url"
