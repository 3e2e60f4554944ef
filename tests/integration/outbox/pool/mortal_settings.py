"""The settings of a pool with Dramatiq's `Results`, in Redis, and its `Prometheus`."""

import os

from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from tests.integration.outbox.pool.settings import *  # noqa: F403 – as all settings do

DRAMATIQ_AUTODISCOVER_MODULES = ["mortal"]
DRAMATIQ_BROKER["MIDDLEWARE"] = [  # noqa: F405
    "dramatiq.middleware.prometheus.Prometheus",
    Results(backend=RedisBackend(url=os.environ["RESULTS_URL"]), store_results=True),  # type: ignore[no-untyped-call]
    "tests.integration.outbox.pool.fails_late.FailsLate",
    *DRAMATIQ_MIDDLEWARE,  # noqa: F405
]
