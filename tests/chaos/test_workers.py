"""Workers are stopped, started and frozen in the middle of a message: no healthy one is lost, doubled or dead."""

import time

import psutil

from project.local.servers.process import wait_until
from tests.chaos.scenario import Scenario
from tests.chaos.service import SILENCE_SECONDS

MAX_STARTS = 5
# Of both worker processes: how many messages they run at a time, and how many they prefetch.
THREADS = 16
PREFETCHED = 32


def test_workers_are_restarted_again_and_again_with_all_that_they_hold(scenario: Scenario) -> None:
    prefix, count = f"restarted-{scenario.seed}-", scenario.length.restarts * THREADS + PREFETCHED
    with scenario.service.down("worker"):
        scenario.service.send(f"send_slow({prefix!r}, {count})")
    with scenario.load():
        for _ in range(scenario.length.restarts):
            scenario.service.wait_for_consumers()
            # A random moment, while they run some messages and have prefetched others.
            time.sleep(scenario.chance.uniform(0, 1.5))
            scenario.service.stack.supervisor.stop_program("worker")
            most = scenario.service.count("SELECT coalesce(max(starts), 0) FROM outbox_outboxmessage")
            scenario.service.stack.supervisor.start_program("worker")
            assert most <= MAX_STARTS
    scenario.assert_all_is_logged()
    done = scenario.service.query("SELECT name, count(*) FROM chaos_effect WHERE name LIKE %s GROUP BY 1", f"{prefix}%")
    assert dict(done) == {f"{prefix}{number}": 1 for number in range(count)}


def test_a_worker_is_frozen_while_it_settles_and_goes_on_later(scenario: Scenario) -> None:
    name = f"frozen-{scenario.seed}"
    worker = begin_to_settle(scenario, name)
    worker.suspend()
    try:
        with scenario.load() as load:
            # RabbitMQ gives up its connection after two heartbeats, and another worker gets the message.
            load.go_on(seconds=scenario.length.fault_seconds + SILENCE_SECONDS, count=scenario.length.creates)
    finally:
        worker.resume()
    scenario.assert_all_is_logged()
    assert scenario.service.effects(name) == 1


def test_a_worker_is_frozen_while_it_settles_and_killed_later(scenario: Scenario) -> None:
    name = f"frozen-{scenario.seed}"
    worker = begin_to_settle(scenario, name)
    worker.suspend()
    with scenario.load() as load:
        load.go_on(seconds=scenario.length.fault_seconds + SILENCE_SECONDS, count=scenario.length.creates)
    worker.kill()
    scenario.assert_all_is_logged()
    assert scenario.service.effects(name) == 1


def test_workers_find_thousands_of_messages(scenario: Scenario) -> None:
    with scenario.service.down("worker"):
        scenario.create_in_bulk(scenario.length.backlog)
        scenario.wait_until_published(scenario.length.backlog)
    scenario.assert_all_is_logged()


def begin_to_settle(scenario: Scenario, name: str) -> psutil.Process:
    """Wait until a worker is between an effect and its commit, and return its process."""
    scenario.service.wait_for_consumers()
    scenario.service.send(f"settle_slowly.send({name!r}, 2)")
    assert wait_until(lambda: bool(scenario.service.runs(name)), timeout_seconds=30), scenario.service.states()
    [(_, pid, _)] = scenario.service.runs(name)
    return psutil.Process(pid)
