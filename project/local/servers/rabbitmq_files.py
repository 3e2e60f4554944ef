"""The files of a private RabbitMQ node: where each lies in its directory, and what is written before a start.

Writing is repeatable: the node's name and cookie are chosen once per directory, because its data belong to that name.
"""

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

OWNER_ONLY = 0o600


@dataclass(frozen=True)
class NodeFiles:
    """The layout of a node's directory."""

    directory: Path

    @property
    def home(self) -> Path:
        return self.directory / "home"

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def logs(self) -> Path:
        return self.directory / "log"

    @property
    def log(self) -> Path:
        return self.logs / "rabbitmq.log"

    @property
    def console_log(self) -> Path:
        """What the node prints while its log is not yet configured."""
        return self.logs / "console.log"

    @property
    def configuration(self) -> Path:
        return self.directory / "rabbitmq.conf"

    @property
    def enabled_plugins(self) -> Path:
        return self.directory / "enabled_plugins"

    @property
    def script_settings(self) -> Path:
        return self.directory / "rabbitmq-env.conf"

    @property
    def pid(self) -> Path:
        return self.directory / "node.pid"

    @property
    def node_name(self) -> str:
        return self._node_name_file.read_text().strip()

    def write(self, *, configuration: str, plugins: Sequence[str]) -> None:
        """Create what is missing and bring the configuration up to date."""
        for directory in (self.home, self.data, self.logs):
            directory.mkdir(parents=True, exist_ok=True)
        _write_once(self._node_name_file, f"vazifa-{secrets.token_hex(4)}@localhost\n")
        _write_once(self.home / ".erlang.cookie", secrets.token_hex(20))
        # Without a file of its own the script would read the system's.
        self.script_settings.write_text("")
        self.enabled_plugins.write_text(f"[{','.join(plugins)}].\n")
        self.configuration.write_text(configuration)

    @property
    def _node_name_file(self) -> Path:
        return self.directory / "node-name"


def _write_once(path: Path, text: str) -> None:
    if path.exists() and path.stat().st_size > 0:
        return
    # Erlang refuses a cookie that others may read, so the file must never have been wider open than this.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, OWNER_ONLY)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
