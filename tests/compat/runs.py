"""Runs Dramatiq's own modules of tests with the outbox's brokers in place of its own, each run in a process.

Guarantee: nothing of another run is in the way of one: it has a database, queues and a folder of its own.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from project.local.stack import ROOT

SUBSTITUTES = Path(__file__).parent / "substitutes"
NAMES = {"fixtures.py": "conftest.py"}
TEST_TIMEOUT_SECONDS = 90
RUN_TIMEOUT_SECONDS = 900
PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"

WITH_BROKER = (
    "test_actors",
    "test_broker",
    "test_callbacks",
    "test_composition",
    "test_encoders",
    "test_generic_actors",
    "test_messages",
    "test_results",
    "test_worker",
)
WITHOUT_BROKER = (
    "test_barrier",
    "test_bucket_rate_limiter",
    "test_canteen",
    "test_common",
    "test_concurrent_rate_limiter",
    "test_window_rate_limiter",
)
NOT_RUN = {
    "test_cli": "Dramatiq's command line, over its Redis broker",
    "test_pidfile": "Dramatiq's command line, over its stub broker",
    "test_redis": "Dramatiq's Redis broker",
    "test_types": "no tests: a type checker reads it",
    "test_watch": "Dramatiq's command line, which reloads code",
}
"""Modules of which nothing concerns the outbox."""


@dataclass(frozen=True, kw_only=True)
class Suite:
    """The modules of one run."""

    name: str

    stub: str
    """The broker in place of Dramatiq's StubBroker."""

    modules: tuple[str, ...]


SUITES = {
    suite.name: suite
    for suite in (
        Suite(name="OutboxRabbitmqBroker", stub="OutboxRabbitmqBroker", modules=(*WITH_BROKER, "test_rabbitmq")),
        Suite(name="OutboxStubBroker", stub="OutboxStubBroker", modules=(*WITH_BROKER, "test_stub_broker")),
        Suite(name="without a broker", stub="OutboxRabbitmqBroker", modules=WITHOUT_BROKER),
    )
}


class Run:
    """A run of a suite, which begins at once."""

    def __init__(self, suite: Suite, *, directory: Path, environment: Mapping[str, str]) -> None:
        """Begin.

        Args:
            suite: the modules.
            directory: where Dramatiq's modules are, in its folder `tests`.
            environment: variables of the service, and those that `substitutes` reads.
        """
        for file in SUBSTITUTES.glob("*.py"):
            (directory / "tests" / NAMES.get(file.name, file.name)).write_bytes(file.read_bytes())
        (directory / "pytest.ini").write_text(f"[pytest]\ntimeout = {TEST_TIMEOUT_SECONDS}\n")
        self._results = directory / "results.xml"
        self.log = directory / "log"
        variables = {
            "PYTHONPATH": str(ROOT),
            "COMPAT_STUB": suite.stub,
            # With a stub broker no relay has a RabbitMQ to publish to.
            "OUTBOX_RELAY_THREAD": str(suite.stub != "OutboxStubBroker"),
        }
        options = ["-p", "no:django", "-p", "no:randomly", "-p", "no:schemathesis", "-p", "no:cacheprovider"]
        modules = [f"tests/{module}.py" for module in suite.modules]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pytest", *options, f"--junitxml={self._results.name}", *modules],
                cwd=directory,
                env={**environment, **variables},
                stdout=log,
                stderr=log,
            )

    def outcomes(self) -> dict[str, str]:
        """Wait for the end, and return each test's outcome: `passed`, `failed` or `skipped`."""
        self.process.wait(RUN_TIMEOUT_SECONDS)
        assert self._results.exists(), self.log.read_text()[-5_000:]
        return read_outcomes(self._results)

    def kill(self) -> None:
        """End it, if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def read_outcomes(results: Path) -> dict[str, str]:
    """Return each test's outcome, by `module::name`, from pytest's JUnit file."""
    outcomes: dict[str, str] = {}
    for case in ElementTree.parse(results).iter("testcase"):  # noqa: S314 – pytest has just written it
        name = f"{case.attrib['classname'].rpartition('.')[2]}::{case.attrib['name']}"
        tags = {child.tag for child in case}
        outcome = FAILED if tags & {"failure", "error"} else SKIPPED if "skipped" in tags else PASSED
        # A test whose fixture fails at the end is two cases.
        outcomes[name] = FAILED if FAILED in {outcome, outcomes.get(name)} else outcome
    return outcomes


def environment_of(*, database_url: str, rabbitmq_url: str, redis_url: str, path: Path) -> dict[str, str]:
    """Return the variables of a run; programs in the folder `path` are found first."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        "PATH": f"{path}:{os.environ['PATH']}",
        "ENV_FILE": os.devnull,
        "DJANGO_SETTINGS_MODULE": "settings.development",
        "DEBUG": "False",
        "DATABASE_URL": database_url,
        "RABBITMQ_URL": rabbitmq_url,
        # Dead letters become rows soon.
        "UPKEEP_SECONDS": "0.2",
        "LOG_FILE": "",
        "dramatiq_restart_delay": "200",
        "COMPAT_REDIS_URL": redis_url,
    }
