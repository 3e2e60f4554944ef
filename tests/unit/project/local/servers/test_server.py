"""One line says why a server did not start."""

from pathlib import Path

from project.local.servers.server import explain, most_telling

RABBITMQ_UNKNOWN_KEY = [
    "2026-01-01 09:27:53.294942+00:00 [info] <0.132.0> Starting",
    "2026-01-01 09:27:53.294942+00:00 [error] <0.132.0> You've tried to set no.such.key, but there is no such setting.",
    "2026-01-01 09:27:53.338523+00:00 [error] <0.132.0> Error preparing configuration in phase transform_datatypes:",
]
RABBITMQ_SYNTAX = [
    "2026-01-01 09:27:56.724058+00:00 [error] <0.132.0> Error parsing configuration:",
    "2026-01-01 09:27:56.737195+00:00 [error] <0.132.0>   - Syntax error in rabbitmq.conf after line 10",
]
POSTGRESQL = [
    "2026-01-01 09:30:00.000 UTC [16425] LOG:  starting PostgreSQL",
    '2026-01-01 09:30:00.000 UTC [16425] FATAL:  data directory "data" has invalid permissions',
]


def test_the_first_error_is_quoted_without_its_time() -> None:
    assert most_telling(RABBITMQ_UNKNOWN_KEY) == ("You've tried to set no.such.key, but there is no such setting.")


def test_an_error_that_only_announces_the_next_line_is_quoted_with_it() -> None:
    assert most_telling(RABBITMQ_SYNTAX) == (
        "Error parsing configuration: - Syntax error in rabbitmq.conf after line 10"
    )


def test_what_postgresql_calls_fatal_is_quoted() -> None:
    assert most_telling(POSTGRESQL) == 'data directory "data" has invalid permissions'


def test_without_any_error_the_last_line_is_quoted() -> None:
    assert most_telling(["starting", "Killed"]) == "Killed"


def test_the_explanation_is_one_line_and_names_the_log(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_text("\n".join(RABBITMQ_SYNTAX))

    explanation = explain("RabbitMQ ended", [tmp_path / "missing.log", log])

    assert explanation.startswith("RabbitMQ ended: Error parsing configuration")
    assert str(log) in explanation
    assert "\n" not in explanation


def test_a_server_that_said_nothing_is_explained_by_its_log_alone(tmp_path: Path) -> None:
    log = tmp_path / "console.log"

    assert explain("RabbitMQ ended", [log]) == f"RabbitMQ ended (see {log})"
