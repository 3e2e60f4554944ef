"""RabbitMQ is unavailable, hangs, or loses messages: clients that create tasks do not notice, and nothing is lost."""

from tests.chaos.load import percentiles
from tests.chaos.scenario import Scenario
from tests.chaos.service import SILENCE_SECONDS


def test_rabbitmq_is_restarted(scenario: Scenario) -> None:
    with scenario.load() as while_up:
        while_up.go_on(seconds=scenario.length.fault_seconds, count=scenario.length.creates)
    with scenario.load() as while_away, scenario.service.down("rabbitmq"):
        while_away.go_on(seconds=scenario.length.fault_seconds, count=scenario.length.creates)
    assert while_up.refused == while_away.refused == []
    scenario.note(f"creates with it up {percentiles(while_up.seconds)}; away {percentiles(while_away.seconds)}")
    scenario.assert_all_is_logged()


def test_kill_9_of_rabbitmq(scenario: Scenario) -> None:
    with scenario.load() as load:
        load.wait_for(scenario.a_few())
        scenario.service.kill_node()
        load.go_on(seconds=scenario.length.fault_seconds, count=scenario.length.creates)
    assert load.refused == []
    scenario.assert_all_is_logged()


def test_rabbitmq_is_frozen(scenario: Scenario) -> None:
    with scenario.load() as load:
        load.wait_for(scenario.a_few())
        with scenario.service.frozen_node():
            # Longer than two heartbeats, after which clients notice.
            load.go_on(seconds=scenario.length.fault_seconds + SILENCE_SECONDS, count=scenario.length.creates)
    assert load.refused == []
    scenario.assert_all_is_logged()


def test_the_way_to_rabbitmq_is_a_black_hole(scenario: Scenario) -> None:
    with scenario.load() as load:
        load.wait_for(scenario.a_few())
        with scenario.service.black_hole():
            load.go_on(seconds=scenario.length.fault_seconds + SILENCE_SECONDS, count=scenario.length.creates)
    assert load.refused == []
    scenario.assert_all_is_logged()


def test_rabbitmq_has_no_memory_left(scenario: Scenario) -> None:
    with scenario.load() as load:
        load.wait_for(scenario.a_few())
        with scenario.service.memory_alarm():
            load.go_on(seconds=scenario.length.fault_seconds, count=scenario.length.creates)
    assert load.refused == []
    scenario.assert_all_is_logged()


def test_all_connections_to_rabbitmq_are_closed_while_messages_are_in_flight(scenario: Scenario) -> None:
    with scenario.load() as load:
        for _ in range(scenario.length.repeats):
            load.wait_for(scenario.a_few())
            scenario.service.rabbitmq.rabbitmqctl("close_all_connections", "chaos")
    assert load.refused == []
    scenario.assert_all_is_logged()


def test_a_queue_is_purged_with_messages_in_it(scenario: Scenario) -> None:
    with scenario.service.down("worker"):
        with scenario.load() as load:
            load.wait_for(scenario.length.creates)
        scenario.wait_until_published(len(load.created))
        scenario.service.rabbitmq.rabbitmqctl("purge_queue", "activity")
    scenario.assert_all_is_logged()


def test_rabbitmq_loses_its_disk(scenario: Scenario) -> None:
    with scenario.service.down("worker"):
        with scenario.load() as load:
            load.wait_for(scenario.length.creates)
        scenario.wait_until_published(len(load.created))
        with scenario.service.down("rabbitmq"):
            scenario.service.wipe_node()
    scenario.assert_all_is_logged()
