"""`manage.py check` warns of throttles that count in each of several processes alone."""

from typing import Any

import pytest

from project.checks import check_throttles

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
