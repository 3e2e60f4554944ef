"""The arguments with which queues are declared, for good."""

import os
import subprocess
import sys

import pytest
from django.conf import settings as django_settings
from pytest_django import Settings

from actors.outbox.amqp import topology
from actors.outbox.amqp.topology import explain_refusal


def test_a_quorum_queue_is_declared_in_full() -> None:
    assert topology.work_queue_arguments("q") == {
        "x-queue-type": "quorum",
        "x-delivery-limit": 1_000,
        "x-overflow": "reject-publish",
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "q.XQ",
        "x-dead-letter-strategy": "at-least-once",
    }
    assert topology.dead_letter_queue_arguments() == {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000}


def test_a_classic_queue_has_no_argument_that_only_quorum_queues_know(settings: Settings) -> None:
    settings.OUTBOX_QUEUE_TYPE = "classic"
    assert topology.work_queue_arguments("q") == {
        "x-queue-type": "classic",
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "q.XQ",
    }
    assert topology.dead_letter_queue_arguments() == {"x-queue-type": "classic"}


@pytest.mark.parametrize("variable", ["QUEUE_TYPE=mirrored", "UPKEEP_SECONDS=0", "CONSUMER_TIMEOUT_SECONDS=-1"])
def test_a_value_that_makes_no_sense_is_an_error_that_names_its_variable(variable: str) -> None:
    name, _, value = variable.partition("=")
    result = subprocess.run(
        [sys.executable, "-c", "import settings.messaging"],
        cwd=django_settings.LOCALE_PATHS[0].parent,
        env={"ENV_FILE": os.devnull, name: value},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stderr.startswith(f"{name}: ")


def test_a_refusal_names_the_argument_and_what_to_do() -> None:
    explanation = explain_refusal(
        "q", "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'q.XQ' in vhost '/'"
    )
    assert explanation.startswith("queue=q.XQ argument=x-queue-type")
    assert "delete it, or give the actors a queue of another name" in explanation


def test_a_refusal_for_another_reason_is_quoted_as_it_is() -> None:
    assert "reason='ACCESS_REFUSED'" in explain_refusal("q", "ACCESS_REFUSED")
