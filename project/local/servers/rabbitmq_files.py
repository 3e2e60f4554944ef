"""The files of a private RabbitMQ node: their paths in its directory, and those written before a start.

Writing is repeatable: name and cookie are chosen once per directory, because the data belong to the node's name.
"""

import secrets
from collections.abc import Sequence
from pathlib import Path

OWNER_ONLY = 0o600


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
        self._node_name = directory / "node-name"

    @property
    def node_name(self) -> str:
        return self._node_name.read_text().strip()

    def write(self, *, configuration: str, plugins: Sequence[str]) -> None:
        """Create missing files and update the configuration."""
        for directory in (self.home, self.data, self.logs):
            directory.mkdir(parents=True, exist_ok=True)
        _write_once(self._node_name, f"vazifa-{secrets.token_hex(4)}@localhost\n")
        _write_once(self.home / ".erlang.cookie", secrets.token_hex(20))
        # Without this file the script would read the system's.
        self.script_settings.write_text("")
        self.enabled_plugins.write_text(f"[{','.join(plugins)}].\n")
        self.configuration.write_text(configuration)


def _write_once(path: Path, text: str) -> None:
    if not path.exists() or path.stat().st_size == 0:
        # Erlang refuses a cookie that other users may read, so the file has this mode from its creation on.
        path.touch(mode=OWNER_ONLY)
        path.write_text(text)
