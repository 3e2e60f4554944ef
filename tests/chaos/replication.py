"""PostgreSQL's primary and its standby on two machines, each behind a proxy of its own; a third is between the two."""

from contextlib import ExitStack
from pathlib import Path
from typing import Self

from psycopg import sql

from project.local.servers.ports import LOOPBACK, free_port
from project.local.servers.postgresql import SUPERUSER, Installation, PrivatePostgresql
from project.local.servers.process import wait_until
from tests.chaos.proxy import Proxy
from tests.chaos.service import DATABASE

READY_TIMEOUT_SECONDS = 60.0


class Replication:
    """PostgreSQL's primary on one of two machines, and its standby on the other."""

    def __init__(self, *, installation: Installation, directory: Path) -> None:
        self.proxies = {port: Proxy(target_port=port) for port in (free_port(), free_port())}
        """Before the machines, by their servers' port."""
        self._installation, self._directory, self._servers = installation, directory, 0
        self._running = ExitStack()
        self.primary = self._server(min(self.proxies))
        self.standby: PrivatePostgresql | None = None
        self.link: Proxy | None = None
        """Between the primary and its standby."""

    @property
    def url(self) -> str:
        """Both addresses, as `DATABASE_URL` takes them."""
        ports = ",".join(str(proxy.port) for proxy in self.proxies.values())
        return f"postgresql://{SUPERUSER}@/{DATABASE}?host={LOOPBACK},{LOOPBACK}&port={ports}"

    def __enter__(self) -> Self:
        with ExitStack() as running:
            for proxy in self.proxies.values():
                running.enter_context(proxy)
            running.enter_context(self.primary)
            self._running = running.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._running.close()

    def add_standby(self, *, is_synchronous: bool = True) -> None:
        """Make a standby on the other machine, and wait until the primary replicates to it."""
        [port] = self.proxies.keys() - {self.primary.port}
        self.link = self._running.enter_context(Proxy(target_port=self.primary.port))
        self.standby = self._server(port, primary_url=f"postgresql://{SUPERUSER}@{LOOPBACK}:{self.link.port}")
        self._running.enter_context(self.standby)
        self._commit_on(self.primary, "*" if is_synchronous else "")
        state = sql.SQL("SELECT 1 FROM pg_stat_replication WHERE sync_state = {}")
        self._wait_for(state.format("sync" if is_synchronous else "async"))

    def wait_for_standby(self) -> None:
        """Wait until the standby has all that the primary has committed."""
        self._wait_for(sql.SQL("SELECT 1 FROM pg_stat_replication WHERE flush_lsn >= pg_current_wal_lsn()"))

    def promote_standby(self) -> PrivatePostgresql:
        """Make the standby the primary, alone, and return it; the old primary is lost."""
        assert self.standby is not None
        assert not self.primary.is_running()
        self._commit_on(self.standby, "")
        self.standby.promote()
        self.primary, self.standby = self.standby, None
        return self.primary

    def _wait_for(self, statement: sql.SQL | sql.Composed) -> None:
        """Wait until a statement finds a row in the primary."""
        assert wait_until(lambda: bool(self.primary.execute(statement)), timeout_seconds=READY_TIMEOUT_SECONDS)

    def _commit_on(self, server: PrivatePostgresql, names: str) -> None:
        """Have a server's commits wait for standbys with these names."""
        server.execute(sql.SQL("ALTER SYSTEM SET synchronous_standby_names = {}").format(names))
        server.execute(sql.SQL("SELECT pg_reload_conf()"))

    def _server(self, port: int, *, primary_url: str = "") -> PrivatePostgresql:
        self._servers += 1
        directory = self._directory / str(self._servers)
        return PrivatePostgresql(
            installation=self._installation, directory=directory, port=port, primary_url=primary_url
        )
