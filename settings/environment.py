"""The environment: the process's variables, and beneath them those of an `.env` file in the project's root.

Every settings module reads through `env`, so a variable of the wrong type is an error that names it, never a guess.
"""

import os
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured
from dotenv import load_dotenv
from environs import Env

ROOT = Path(__file__).resolve().parent.parent

# Into the process's own environment, so that the programs it starts and the libraries it uses see the same.
load_dotenv(os.environ.get("ENV_FILE") or ROOT / ".env")
env = Env()

# Everything that `make run` keeps: database, RabbitMQ's data, logs, caches.
VAR = env.path("STATE_DIR", ROOT / "var").absolute()


def require(*names: str) -> None:
    """Demand that every variable in `names` is set and not empty.

    Raises:
        ImproperlyConfigured: naming all that are missing, in one message.
    """
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        raise ImproperlyConfigured(
            f"Missing from the environment: {', '.join(missing)}. Set them as .env.example shows, and start again."
        )
