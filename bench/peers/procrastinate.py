"""Procrastinate, a queue in PostgreSQL: `procrastinate --app=bench.peers.procrastinate.app worker`."""

import os

from procrastinate import App, PsycopgConnector

app = App(connector=PsycopgConnector(conninfo=os.environ["DATABASE_URL"]))
