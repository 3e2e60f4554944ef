"""Messages that arrive several times, too late, or beside a poison message."""

from tests.chaos.scenario import Scenario

AGAIN = "UPDATE outbox_outboxmessage SET state = 'pending', published_at = NULL WHERE state = 'published'"
KILL_ONE = "UPDATE outbox_outboxmessage SET state = 'dead', died_at = now(), reason = 'tests' WHERE actor = 'take_step'"


def test_every_message_is_published_three_times(scenario: Scenario) -> None:
    with scenario.service.down("worker"):
        with scenario.load() as load:
            load.wait_for(scenario.length.creates)
        for _ in range(2):
            scenario.wait_until_published(len(load.created))
            scenario.service.query(AGAIN)
        scenario.wait_until_published(len(load.created))
        scenario.wait_until_queued(3 * len(load.created))
    scenario.assert_all_is_logged()


def test_a_dead_letter_is_replayed_while_its_old_copy_arrives_late(scenario: Scenario) -> None:
    name = f"late-{scenario.seed}"
    with scenario.service.down("worker"):
        scenario.service.send(f"take_step.send({name!r}, 0)")
        scenario.wait_until_published(1)
        scenario.service.query(KILL_ONE)
        scenario.replay_dead()
        scenario.wait_until_published(1)
        scenario.wait_until_queued(2)
    scenario.assert_all_is_logged()
    assert scenario.service.effects(f"{name}/1") == 1


def test_one_poison_item_in_each_group_fails_alone(scenario: Scenario) -> None:
    count = scenario.length.creates // 8
    with scenario.service.down("worker"), scenario.load() as load:
        load.wait_for(1)
        scenario.service.send(f"send_poison({count}, every_seconds=0.25)")
        load.wait_for(scenario.length.creates)
    dead = scenario.wait_for_dead(count)
    assert [(actor, reason) for actor, reason, _ in dead] == [("log_task_creation", "retries exhausted")] * count
    scenario.discard_dead()
    scenario.assert_all_is_logged()
