"""What a user would pick instead: the lesson's service as its reader would build it, with three ways to do the rest.

`PEER` says which: `celery-redis` (the lesson's own), `celery-rabbitmq`, `celery-rabbitmq-row` (a worker that loses
nothing while it works, and writes the same row as ours) or `dramatiq`. Nothing in here knows the service it is measured
beside.
"""
