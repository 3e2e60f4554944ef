"""Actors fail, a few times or always, kill their worker, or take too long."""

from project.local.servers.process import wait_until
from tests.chaos.scenario import Scenario

MAX_STARTS = 5


def test_what_fails_three_times_and_then_succeeds_is_done_once(scenario: Scenario) -> None:
    name = f"fails-{scenario.seed}"
    with scenario.load() as load:
        scenario.service.send(f"fail_times.send({name!r}, 3)")
        load.wait_for(10)
    scenario.assert_all_is_logged()
    assert scenario.service.effects(name) == 1
    assert len(scenario.service.runs(name)) == 4


def test_what_always_fails_is_kept_as_a_dead_letter(scenario: Scenario) -> None:
    name = f"always-{scenario.seed}"
    with scenario.load() as load:
        scenario.service.send(f"always_fail.send({name!r})")
        load.wait_for(10)
        [(actor, reason, traceback)] = scenario.wait_for_dead(1)
    assert (actor, reason) == ("always_fail", "retries exhausted")
    assert f"RuntimeError: {name} never works" in traceback
    assert scenario.service.effects(name) == 0
    scenario.discard_dead()
    scenario.assert_all_is_logged()


def test_what_kills_its_worker_is_given_up_and_takes_no_other_message_with_it(scenario: Scenario) -> None:
    killers = {actor: f"{actor}-{scenario.seed}" for actor in ("kill_worker", "kill_worker_while_held")}
    with scenario.load() as load:
        scenario.service.send(*(f"{actor}.send({name!r})" for actor, name in killers.items()))
        load.wait_for(scenario.length.creates)
    dead = scenario.wait_for_dead(len(killers))
    assert sorted((actor, reason) for actor, reason, _ in dead) == [(actor, "starts exceeded") for actor in killers]
    assert scenario.service.effects(killers["kill_worker"]) == 0
    for name in killers.values():
        # The first delivery of a copy is no redelivery, and is not counted. The relay in the worker that was killed may
        # have published a message without marking it: then there are two copies.
        assert len(scenario.service.runs(name)) <= MAX_STARTS + 2
    scenario.discard_dead()
    scenario.assert_all_is_logged()


def test_what_exceeds_its_time_limit_fails_and_nothing_of_it_remains(scenario: Scenario) -> None:
    name = f"slow-{scenario.seed}"
    with scenario.load() as load:
        scenario.service.send(f"exceed_time_limit.send({name!r})")
        load.wait_for(10)
        [(actor, reason, traceback)] = scenario.wait_for_dead(1)
    assert (actor, reason) == ("exceed_time_limit", "retries exhausted")
    assert "TimeLimitExceeded" in traceback
    assert scenario.service.effects(name) == 0
    scenario.discard_dead()
    scenario.assert_all_is_logged()


def test_a_slow_effect_outside_the_database_never_runs_twice_at_once(scenario: Scenario) -> None:
    names = [f"letter-{scenario.seed}-{number}" for number in range(6)]
    with scenario.load() as load:
        scenario.service.send(*(f"post_letter.send({name!r}, 3)" for name in names))
        assert wait_until(lambda: all(map(scenario.service.runs, names)), timeout_seconds=60)
        # RabbitMQ gives their messages to other workers while they run.
        scenario.service.rabbitmq.rabbitmqctl("close_all_connections", "chaos")
        load.wait_for(10)
    scenario.assert_all_is_logged()
    for name in names:
        assert [event for event, *_ in scenario.service.runs(name)] == ["begun", "ended"]


def test_a_slow_effect_outside_the_database_whose_worker_is_killed_is_done_again(scenario: Scenario) -> None:
    name = f"letter-{scenario.seed}"
    with scenario.load() as load:
        scenario.service.send(f"post_letter.send({name!r}, 2)")
        assert wait_until(lambda: bool(scenario.service.runs(name)), timeout_seconds=60)
        scenario.service.kill_all_of("worker")
        load.wait_for(10)
    scenario.assert_all_is_logged()
    assert [event for event, *_ in scenario.service.runs(name)][-2:] == ["begun", "ended"]


def test_a_pipeline_that_is_cut_between_its_steps_goes_on(scenario: Scenario) -> None:
    prefix, count = f"pipeline-{scenario.seed}-", 20
    with scenario.load() as load:
        scenario.service.send(f"send_pipelines({prefix!r}, {count})")
        for _ in range(scenario.length.repeats):
            load.wait_for(scenario.chance.randint(1, 20))
            scenario.service.kill_one_of("worker", scenario.chance)
    scenario.assert_all_is_logged()
    taken = scenario.service.query(
        "SELECT name, count(*) FROM chaos_effect WHERE name LIKE %s GROUP BY 1", f"{prefix}%"
    )
    assert dict(taken) == {f"{prefix}{number}/{step}": 1 for number in range(count) for step in (1, 2, 3)}
