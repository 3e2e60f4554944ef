"""Processes of the service are killed with SIGKILL, at any moment."""

from project.local.servers.process import wait_until
from tests.chaos.scenario import Scenario


def test_kill_9_of_workers(scenario: Scenario) -> None:
    with scenario.load() as load:
        for _ in range(scenario.length.repeats):
            load.wait_for(scenario.a_few())
            scenario.service.kill_one_of("worker", scenario.chance)
    scenario.assert_all_is_logged()


def test_kill_9_of_web_processes(scenario: Scenario) -> None:
    with scenario.load() as load:
        for _ in range(scenario.length.repeats):
            load.wait_for(scenario.a_few())
            scenario.service.kill_one_of("web", scenario.chance)
        load.wait_for(10)
    scenario.assert_all_is_logged()


def test_a_pool_whose_master_is_killed_leaves_no_worker_behind(scenario: Scenario) -> None:
    scenario.service.wait_for_consumers()
    master, *workers = scenario.service.processes("worker")
    with scenario.load() as load:
        load.wait_for(10)
        master.kill()
        assert wait_until(lambda: not any(worker.is_running() for worker in workers), timeout_seconds=60), workers
    scenario.assert_all_is_logged()


def test_everything_is_killed_at_once_and_what_is_owed_is_delivered_without_a_new_request(scenario: Scenario) -> None:
    supervisor = scenario.service.stack.supervisor
    with scenario.load() as load:
        load.wait_for(scenario.length.creates)
        scenario.service.kill_all_of("web", "worker", "rabbitmq")
        supervisor.stop_program("web")
    # The web stays down: the workers' relays have to publish the remaining messages.
    scenario.wait_until_nothing_is_owed()
    # Clients without a response repeat their request.
    supervisor.start_program("web")
    scenario.assert_all_is_logged()


def test_web_processes_that_nobody_asks_carry_what_is_sent_while_workers_are_stopped(scenario: Scenario) -> None:
    name = f"unasked-{scenario.seed}"
    with scenario.service.down("worker"):
        with scenario.service.down("web"):
            scenario.service.send(f"take_step.send({name!r}, 0)")
        scenario.wait_until_published(1)
    scenario.assert_all_is_logged()
    assert scenario.service.effects(f"{name}/1") == 1
