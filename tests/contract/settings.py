"""The settings of generated requests, with two limits that a session is to meet."""

from tests.integration.fuzzing.settings import *  # noqa: F403 – as all settings do

REQUIRE_IF_MATCH = True
# Wrong passwords for one account from one address.
LOGIN_LIMITS["account and address"] = (3, 3_600)  # noqa: F405
