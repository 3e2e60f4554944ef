"""The environment: the process's variables and, where one is not set, those of `.env` in the project's root.

Every settings module reads through `env`: a variable of the wrong type is an error that names it.
"""

import os
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured
from dotenv import load_dotenv
from environs import Env

ROOT = Path(__file__).resolve().parent.parent

# Loaded into the process's environment, which the programs that it starts and the libraries that it uses read too.
load_dotenv(os.environ.get("ENV_FILE") or ROOT / ".env")
env = Env()

# Everything that `make run` keeps: database, RabbitMQ's data, logs, caches.
VAR = env.path("STATE_DIR", ROOT / "var").absolute()

# The address of the RabbitMQ node that `make run` runs, its password included; the file is there while the node runs.
PRIVATE_NODE = VAR / "rabbitmq-url"


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
