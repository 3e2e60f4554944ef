"""The files of a private RabbitMQ node: where each lies in its directory, and what is written before a start.

Writing is repeatable: the node's name and cookie are chosen once per directory, because its data belong to that name.
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
        """What the node prints while its log is not yet configured."""
        self.configuration = directory / "rabbitmq.conf"
        self.enabled_plugins = directory / "enabled_plugins"
        self.script_settings = directory / "rabbitmq-env.conf"
        self.pid = directory / "node.pid"
        self._node_name = directory / "node-name"

    @property
    def node_name(self) -> str:
        return self._node_name.read_text().strip()

    def write(self, *, configuration: str, plugins: Sequence[str]) -> None:
        """Create what is missing and bring the configuration up to date."""
        for directory in (self.home, self.data, self.logs):
            directory.mkdir(parents=True, exist_ok=True)
        _write_once(self._node_name, f"vazifa-{secrets.token_hex(4)}@localhost\n")
        _write_once(self.home / ".erlang.cookie", secrets.token_hex(20))
        # Without a file of its own the script would read the system's.
        self.script_settings.write_text("")
        self.enabled_plugins.write_text(f"[{','.join(plugins)}].\n")
        self.configuration.write_text(configuration)


def _write_once(path: Path, text: str) -> None:
    if not path.exists() or path.stat().st_size == 0:
        # Erlang refuses a cookie that others may read, so the file must never have been wider open than this.
        path.touch(mode=OWNER_ONLY)
        path.write_text(text)
