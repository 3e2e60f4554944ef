"""The files of a private RabbitMQ node: their paths in its directory, and those written before a start.

Writing is repeatable: name, cookie and password are chosen once per directory, because the data belong to the node's
name, and have its user.
Guarantee: other users of the machine can read none of them.
"""

import secrets
from collections.abc import Sequence
from pathlib import Path

OWNER_ONLY = 0o600
OWNER_ONLY_DIRECTORY = 0o700


class NodeFiles:
    """The layout of a node's directory."""

    def __init__(self, directory: Path) -> None:
        self.home = directory / "home"
        self.data = directory / "data"
        self.logs = directory / "log"
        self.log = self.logs / "rabbitmq.log"
        self.console_log = self.logs / "console.log"
        """The node's output before its log is configured."""
        self.configuration = directory / "rabbitmq.conf"
        self.enabled_plugins = directory / "enabled_plugins"
        self.script_settings = directory / "rabbitmq-env.conf"
        self.pid = directory / "node.pid"
        self.cookie = self.home / ".erlang.cookie"
        self.password_file = directory / "password"
        self._directory = directory
        self._node_name = directory / "node-name"

    @property
    def node_name(self) -> str:
        return self._node_name.read_text().strip()

    @property
    def password(self) -> str:
        """The password of the node's user."""
        return self.password_file.read_text().strip()

    def make(self) -> None:
        """Create the directories, and choose what is chosen once."""
        self._directory.parent.mkdir(parents=True, exist_ok=True)
        for directory in (self._directory, self.home, self.data, self.logs):
            directory.mkdir(mode=OWNER_ONLY_DIRECTORY, exist_ok=True)
        _write_once(self._node_name, f"vazifa-{secrets.token_hex(4)}@localhost\n")
        _write_once(self.cookie, secrets.token_hex(20))
        _write_once(self.password_file, f"{secrets.token_hex(20)}\n")

    def write(self, *, configuration: str, plugins: Sequence[str]) -> None:
        """Update the configuration."""
        # Without this file the script would read the system's.
        self.script_settings.write_text("")
        self.enabled_plugins.write_text(f"[{','.join(plugins)}].\n")
        write_private(self.configuration, configuration)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, from its creation on."""
    path.touch(mode=OWNER_ONLY)
    path.chmod(OWNER_ONLY)
    path.write_text(text)


def _write_once(path: Path, text: str) -> None:
    # Erlang refuses a cookie that other users may read.
    if not path.exists() or path.stat().st_size == 0:
        write_private(path, text)
