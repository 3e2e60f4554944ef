"""`manage.py check` warns of limits that count what they should not: processes alone, or all clients as one."""

from typing import Any

import pytest

from project.checks import check_proxies, check_throttles

REDIS = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://127.0.0.1"}}
OFF = {"anon": None, "user": None}


@pytest.fixture(autouse=True)
def two_processes_with_limits(settings: Any) -> None:
    settings.WEB_CONCURRENCY = 2
    settings.REST_FRAMEWORK = {"DEFAULT_THROTTLE_RATES": {"anon": "10/hour", "user": None}}


def test_several_processes_without_a_shared_cache_are_a_warning() -> None:
    [warning] = check_throttles()
    assert (warning.id, warning.level) == ("vazifa.W001", 30)


@pytest.mark.parametrize(
    ("name", "value"),
    [("WEB_CONCURRENCY", 1), ("CACHES", REDIS), ("REST_FRAMEWORK", {"DEFAULT_THROTTLE_RATES": OFF})],
)
def test_one_process_a_shared_cache_or_no_throttle_is_none(settings: Any, name: str, value: Any) -> None:
    setattr(settings, name, value)
    assert check_throttles() == []


@pytest.mark.parametrize(
    ("trusted", "number", "ids"), [([], 0, []), ([], 1, []), (["10.0.0.7"], 1, []), (["10.0.0.7"], 0, ["vazifa.W002"])]
)
def test_proxies_behind_which_all_clients_are_one_are_a_warning(
    settings: Any, trusted: list[str], number: int, ids: list[str]
) -> None:
    settings.TRUSTED_PROXIES, settings.NUM_PROXIES = trusted, number
    assert [warning.id for warning in check_proxies()] == ids
