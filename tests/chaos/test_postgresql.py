"""PostgreSQL is unavailable, or cuts its connections: nothing that it has committed is lost, or done twice."""

import time

from project.local.servers.process import wait_until
from tests.chaos.scenario import Scenario

CUT_ALL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'chaos' AND pid <> pg_backend_pid()"
CUT_SOME = CUT_ALL + " AND random() < 0.3"
CUT_AT_COMMIT = CUT_ALL + " AND state = 'active' AND query = 'COMMIT'"


def test_postgresql_crashes_and_comes_back(scenario: Scenario) -> None:
    with scenario.load() as load:
        load.wait_for(scenario.a_few())
        scenario.service.postgresql.stop("immediate")
        time.sleep(scenario.length.fault_seconds)
        scenario.service.postgresql.start()
        load.wait_for(scenario.a_few())
    scenario.assert_all_is_logged()


def test_connections_to_postgresql_are_cut(scenario: Scenario) -> None:
    with scenario.load() as load:
        for _ in range(scenario.length.repeats * 2):
            load.wait_for(scenario.chance.randint(5, 30))
            scenario.service.query(CUT_ALL)
    scenario.assert_all_is_logged()


def test_connections_to_postgresql_are_cut_at_random_moments(scenario: Scenario) -> None:
    with scenario.load() as load:
        until = time.monotonic() + scenario.length.fault_seconds

        def cut() -> bool:
            time.sleep(scenario.chance.uniform(0, 0.05))
            scenario.service.query(CUT_SOME)
            return time.monotonic() > until

        wait_until(cut, timeout_seconds=scenario.length.fault_seconds * 2)
        load.wait_for(10)
    scenario.assert_all_is_logged()


def test_connections_to_postgresql_are_cut_at_commit(scenario: Scenario) -> None:
    cut = 0
    with scenario.load() as load:
        until = time.monotonic() + scenario.length.fault_seconds
        while time.monotonic() < until:
            cut += len(scenario.service.query(CUT_AT_COMMIT))
        load.wait_for(10)
    scenario.note(f"{cut} connections were cut")
    scenario.assert_all_is_logged()


def test_answers_to_commits_are_lost(scenario: Scenario) -> None:
    before = scenario.service.postgresql_proxy.lost_answers
    with scenario.load() as load:
        with scenario.service.lost_answers_to_commits(scenario.chance, share=0.2):
            load.go_on(seconds=scenario.length.fault_seconds, count=scenario.length.creates)
        load.wait_for(10)
    lost = scenario.service.postgresql_proxy.lost_answers - before
    assert lost > 0
    scenario.note(f"{lost} commits were done and not answered, {len(load.refused)} of them to a client")
    scenario.assert_all_is_logged()


def test_postgresql_is_away_while_a_retry_is_due(scenario: Scenario) -> None:
    name = f"retry-{scenario.seed}"
    scenario.service.send(f"fail_once_for_three_seconds.send({name!r})")
    assert wait_until(lambda: scenario.service.states() == {"scheduled": 1}, timeout_seconds=30)
    scenario.service.postgresql.stop("immediate")
    time.sleep(max(scenario.length.fault_seconds, 4))  # the retry is due within three
    scenario.service.postgresql.start()
    scenario.assert_all_is_logged()
    assert scenario.service.effects(name) == 1
    assert [event for event, *_ in scenario.service.runs(name)] == ["begun", "begun"]
