"""The peers: the lesson's service as its reader would build it for production, with several ways to do background work.

The environment variable `PEER` names the variant: `celery-redis` (the lesson's own), `celery-rabbitmq` or `dramatiq`;
with `-row` at the end of the last two, the worker writes the same row as ours, and Celery acknowledges late. With
`-reconnecting` after that, Celery closes its database connections around each task, as it does by default. No module
in here imports the service that the peers are measured beside.
"""
