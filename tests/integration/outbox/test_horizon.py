"""A prepared transaction that holds PostgreSQL's horizon is named; the test server is its own, to allow such ones."""

from pathlib import Path

import psycopg
import pytest

from actors.outbox.operations.horizon import HOLDERS
from project.local.servers.postgresql import PrivatePostgresql

pytestmark = pytest.mark.integration


def test_a_prepared_transaction_is_named(postgresql: PrivatePostgresql, tmp_path: Path) -> None:
    server = PrivatePostgresql(installation=postgresql.installation, directory=tmp_path, durable=False)
    with server, psycopg.connect(server.url(), autocommit=True) as first:
        first.execute("ALTER SYSTEM SET max_prepared_transactions = 1")
        server.restart()
        with psycopg.connect(server.url(), autocommit=True) as session:
            session.execute("BEGIN; CREATE TABLE written (); PREPARE TRANSACTION 'forgotten'")
            [(name, seconds, transactions)] = session.execute(HOLDERS, [0, 0]).fetchall()
            session.execute("ROLLBACK PREPARED 'forgotten'")
            assert session.execute(HOLDERS, [0, 0]).fetchall() == []
    assert (name, seconds >= 0, transactions) == ("prepared transaction gid='forgotten' user='postgres'", True, 1)
