"""Gives the peers' row the cost of ours: compares the columns of both tables and copies the indexes."""

from typing import LiteralString

from psycopg import sql

from bench.ground import Ground
from bench.sites import PEERS_DATABASE

COLUMNS = """
SELECT column_name, data_type, character_maximum_length, is_nullable FROM information_schema.columns
WHERE table_name = %s ORDER BY 1
"""
INDEXES = """
SELECT CASE WHEN indisunique THEN 'UNIQUE INDEX' ELSE 'INDEX' END,
       regexp_replace(pg_get_indexdef(indexrelid), '^.* USING ', 'USING ')
FROM pg_index WHERE indrelid = %s::regclass ORDER BY 1, 2
"""


def make_alike(ground: Ground) -> None:
    """Give the peer's table the indexes of our activity log.

    Raises:
        RuntimeError: it has other columns, or an index that ours has not.
    """
    mine, theirs = _ask(ground, COLUMNS)
    if mine != theirs:
        raise RuntimeError(
            f"bench.peers.models.Activity has not the columns of ours: {sorted(map(str, mine ^ theirs))}"
        )
    mine, theirs = _ask(ground, INDEXES)
    if more := theirs - mine:
        raise RuntimeError(f"bench.peers.models.Activity has more indexes than ours: {sorted(map(str, more))}")
    for kind, definition in sorted(mine - theirs):
        statement = sql.SQL("CREATE {} ON peers_activity {}").format(sql.SQL(kind), sql.SQL(definition))
        ground.database(PEERS_DATABASE).execute(statement)


def _ask(ground: Ground, query: LiteralString) -> tuple[set[tuple[str, ...]], set[tuple[str, ...]]]:
    mine = ground.database().execute(query, ["actors_activity"]).fetchall()
    theirs = ground.database(PEERS_DATABASE).execute(query, ["peers_activity"]).fetchall()
    return set(mine), set(theirs)
