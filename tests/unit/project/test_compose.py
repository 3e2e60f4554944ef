"""docker-compose.yml and the Dockerfile name only what exists: a container engine would notice an error late.

No engine is needed: the files are parsed, and compared with the code.
"""

import importlib.util
import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from django.core.management import get_commands, load_command_class
from django.urls import resolve

from project.health import live, ready
from tests.unit.project.test_environment_example import variables_documented, variables_read

ROOT = Path(__file__).resolve().parents[3]
COMPOSE = (ROOT / "docker-compose.yml").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE)["services"]
OURS = sorted(name for name, service in SERVICES.items() if service["image"] == "vazifa:local")
OTHERS = sorted(SERVICES.keys() - set(OURS))
DOCKERFILE = (ROOT / "Dockerfile").read_text()

# ${NAME}, ${NAME:-default} and ${NAME:?message}: the forms that docker-compose.yml uses.
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<text>[^}]*))?\}")
SECRET = secrets.token_hex(32)
SECRETS = {"SECRET_KEY", "POSTGRES_PASSWORD", "RABBITMQ_PASSWORD", "VALKEY_PASSWORD"}
TMP = "/tmp"  # noqa: S108 – in a container
CONDITIONS = {"service_started", "service_healthy", "service_completed_successfully"}
PINNED = re.compile(r"[a-z]+(/[a-z]+)?:[1-9]\d*(\.\d+)*(-[a-z]+)?")
READ_BY_PYTHON_AND_DJANGO = {"PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "DJANGO_SETTINGS_MODULE"}


def interpolate(value: str) -> str:
    """Fill in each variable as Compose does when only the secrets are set."""
    return VARIABLE.sub(lambda variable: SECRET if variable["kind"] == "?" else variable["text"] or "", value)


def environment_of(service: str) -> dict[str, str]:
    """Return what the service's process finds in its environment when only the secrets are set."""
    given: dict[str, str | None] = SERVICES[service].get("environment", {})
    return image_environment() | {name: interpolate(value) for name, value in given.items() if value is not None}


def command_of(service: str) -> list[str]:
    return [interpolate(word) for word in SERVICES[service].get("command", image_command())]


def stages() -> list[list[tuple[str, str]]]:
    """Return the Dockerfile's stages, each its instructions with their arguments, continued lines joined."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", "")
    found: list[list[tuple[str, str]]] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        instruction, arguments = line.split(maxsplit=1)
        if instruction == "FROM":
            found.append([])
        found[-1].append((instruction, arguments))
    return found


def final_image() -> list[tuple[str, str]]:
    """Return the instructions that make the last stage, those of the stage it builds on included."""
    base, _, last = stages()
    assert base[0][1].endswith(f" AS {last[0][1]}")
    return base + last


def image_environment() -> dict[str, str]:
    settings = [word for name, arguments in final_image() if name == "ENV" for word in shlex.split(arguments)]
    return dict(setting.split("=", maxsplit=1) for setting in settings)


def image_command() -> list[str]:
    [command] = [json.loads(arguments) for name, arguments in final_image() if name == "CMD"]
    return [str(word) for word in command]


def image_healthcheck() -> str:
    [arguments] = [arguments for name, arguments in final_image() if name == "HEALTHCHECK"]
    program, option, code = json.loads(arguments.partition("CMD ")[2])
    assert [program, option] == ["python", "-c"]
    return str(code)


def copied_from_context() -> list[str]:
    copies = [shlex.split(arguments) for stage in stages() for name, arguments in stage if name == "COPY"]
    return [source for words in copies if not words[0].startswith("--from=") for source in words[:-1]]


def seconds(duration: str) -> int:
    assert duration.endswith("s")
    return int(duration[:-1])


def option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


# What depends on what


def test_it_has_the_services_of_the_design() -> None:
    assert set(SERVICES) == {"postgres", "rabbitmq", "valkey", "migrate", "web", "worker"}


def test_the_services_image_is_built_once_by_whom_the_others_wait_for() -> None:
    assert OURS == ["migrate", "web", "worker"]
    assert [name for name, service in SERVICES.items() if "build" in service] == ["migrate"]
    assert {name: SERVICES[name]["pull_policy"] for name in OURS} == {
        "migrate": "build",
        "web": "never",
        "worker": "never",
    }


@pytest.mark.parametrize("service", SERVICES)
def test_every_dependency_exists_and_says_what_it_waits_for(service: str) -> None:
    dependencies = SERVICES[service].get("depends_on", {})

    assert dependencies.keys() <= SERVICES.keys()
    assert {dependency["condition"] for dependency in dependencies.values()} <= CONDITIONS


@pytest.mark.parametrize("service", SERVICES)
def test_who_is_waited_for_can_become_what_is_waited_for(service: str) -> None:
    for name, dependency in SERVICES[service].get("depends_on", {}).items():
        if dependency["condition"] == "service_healthy":
            assert "test" in SERVICES[name]["healthcheck"]
        if dependency["condition"] == "service_completed_successfully":
            assert SERVICES[name]["restart"] == "no"


@pytest.mark.parametrize("service", ["web", "worker"])
def test_web_and_worker_start_after_the_migrations(service: str) -> None:
    assert SERVICES[service]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"


def test_web_does_not_wait_for_rabbitmq() -> None:
    assert "rabbitmq" not in SERVICES["web"]["depends_on"]


def test_the_worker_waits_for_rabbitmq() -> None:
    assert SERVICES["worker"]["depends_on"]["rabbitmq"]["condition"] == "service_healthy"


@pytest.mark.parametrize("service", sorted(SERVICES.keys() - {"migrate"}))
def test_every_lasting_service_is_checked_and_restarted(service: str) -> None:
    assert "test" in SERVICES[service]["healthcheck"]
    assert SERVICES[service]["restart"] == "unless-stopped"


def test_migrations_do_not_inherit_the_webs_health_check() -> None:
    assert SERVICES["migrate"]["healthcheck"] == {"disable": True}


# What is run


@pytest.mark.parametrize("service", ["migrate", "worker"])
def test_every_management_command_exists_and_takes_its_arguments(service: str) -> None:
    python, script, name, *arguments = command_of(service)

    assert (python, script) == ("python", "manage.py")
    app = get_commands()[name]
    assert isinstance(app, str)
    load_command_class(app, name).create_parser(script, name).parse_args(arguments)


def test_gunicorn_is_installed_and_its_application_exists() -> None:
    program, application = command_of("web")

    assert re.search(rf"^{program}==", (ROOT / "requirements/runtime.txt").read_text(), re.MULTILINE)
    assert importlib.util.find_spec(application) is not None


def test_a_worker_that_stops_has_time_for_what_it_has_begun(settings: Any) -> None:
    shutdown_timeout_ms = int(option(command_of("worker"), "--worker-shutdown-timeout"))

    assert settings.OUTBOX_TIME_LIMIT_MS < shutdown_timeout_ms < seconds(SERVICES["worker"]["stop_grace_period"]) * 1000


def test_the_pid_file_is_where_the_health_check_looks_and_does_not_outlive_the_container() -> None:
    pid_file = option(command_of("worker"), "--pid-file")

    assert f'"{pid_file}"' in SERVICES["worker"]["healthcheck"]["test"][-1]
    assert Path(pid_file).is_relative_to(SERVICES["worker"]["tmpfs"])


def test_the_workers_health_check_looks_for_the_port_of_rabbitmq() -> None:
    port = urlsplit(environment_of("worker")["RABBITMQ_URL"]).port

    assert f":{port:04X}" in SERVICES["worker"]["healthcheck"]["test"][-1]


@pytest.mark.parametrize(
    "code", [image_healthcheck(), *(SERVICES[name]["healthcheck"]["test"][-1] for name in ("web", "worker"))]
)
def test_every_health_check_in_python_compiles(code: str) -> None:
    compile(code, "healthcheck", "exec")


@pytest.mark.parametrize("code", [image_healthcheck(), SERVICES["web"]["healthcheck"]["test"][-1]])
def test_every_health_check_asks_an_address_that_exists(code: str) -> None:
    [path] = re.findall(r"/health/[a-z/]+", code)

    assert resolve(path).func in {live, ready}


# What is configured


@pytest.mark.parametrize("service", OURS)
def test_every_variable_is_one_that_is_read(service: str) -> None:
    assert SERVICES[service]["environment"].keys() | image_environment().keys() <= (
        variables_read() | READ_BY_PYTHON_AND_DJANGO
    )


def test_every_variable_that_production_reads_can_be_set() -> None:
    only_development = {"DEBUG", "ENV_FILE", "RABBITMQ_MANAGEMENT_URL", "STATE_DIR"}

    assert variables_read() - only_development <= environment_of("web").keys() | SERVICES["web"]["environment"].keys()


def test_every_variable_that_is_filled_in_is_documented() -> None:
    assert {variable["name"] for variable in VARIABLE.finditer(COMPOSE)} <= variables_documented().keys()


def test_no_dollar_is_left_that_compose_would_read_otherwise() -> None:
    assert "$" not in VARIABLE.sub("", COMPOSE)


@pytest.mark.parametrize("service", OURS)
def test_production_settings_start_with_it(service: str) -> None:
    result = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT,
        env={**environment_of(service), "ENV_FILE": os.devnull},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("password", "server"),
    [("POSTGRES_PASSWORD", "postgres"), ("RABBITMQ_PASSWORD", "rabbitmq"), ("VALKEY_PASSWORD", "valkey")],
)
def test_each_password_is_given_to_its_server_and_to_who_calls_it(password: str, server: str) -> None:
    given = {name for name, service in SERVICES.items() if password in str(service.get("environment"))}

    assert given >= {server, *OURS}


# What must not happen


def test_every_secret_comes_from_the_environment_and_is_demanded() -> None:
    found = {variable["name"]: variable["kind"] for variable in VARIABLE.finditer(COMPOSE)}

    assert {name for name, kind in found.items() if kind == "?"} == SECRETS


@pytest.mark.parametrize("service", SERVICES)
def test_no_secret_is_written_out(service: str) -> None:
    for name, value in SERVICES[service].get("environment", {}).items():
        if re.search("SECRET|PASS|TOKEN$|KEY$", name):
            assert value is None or VARIABLE.fullmatch(value)  # None is handed on from `.env`
        elif value and "@" in value:
            assert re.search(r"://\w+:" + VARIABLE.pattern + "@", value)


def test_the_image_holds_no_secret() -> None:
    kept = [arguments for name, arguments in final_image() if name in {"ENV", "ARG", "LABEL"}]

    assert not re.search("SECRET|PASSWORD|://", " ".join(kept))


@pytest.mark.parametrize("service", SERVICES)
def test_every_published_port_is_on_loopback(service: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[service].get("ports", []))


def test_the_proxy_that_the_file_names_is_the_gateway_of_its_network() -> None:
    [network] = yaml.safe_load(COMPOSE)["networks"]["default"]["ipam"]["config"]

    [named] = re.findall(r"TRUSTED_PROXIES=([\d.]+)", COMPOSE)
    assert named == network["gateway"]
    assert ip_address(named) in ip_network(network["subnet"])


def test_the_web_is_published_where_it_listens() -> None:
    address, _, port = environment_of("web")["BIND"].partition(":")

    assert address == "0.0.0.0"
    assert SERVICES["web"]["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert ("EXPOSE", port) in final_image()
    assert f"127.0.0.1', {port}" in image_healthcheck()


@pytest.mark.parametrize("image", [SERVICES[name]["image"] for name in SERVICES if name not in OURS])
def test_every_image_is_pinned_to_a_major_version(image: str) -> None:
    assert PINNED.fullmatch(image)


def test_the_image_is_built_on_a_pinned_one_of_the_oldest_python_supported() -> None:
    image = stages()[0][0][1].split()[0]

    assert PINNED.fullmatch(image)
    assert f'requires-python = ">={image.partition(":")[2].partition("-")[0]}"' in (ROOT / "pyproject.toml").read_text()


# What is in the image


@pytest.mark.parametrize("source", copied_from_context())
def test_everything_that_is_copied_exists_and_is_let_through(source: str) -> None:
    assert (ROOT / source).exists()
    assert f"!{source}" in (ROOT / ".dockerignore").read_text().splitlines()


def test_nothing_is_let_through_that_is_not_copied() -> None:
    rules = (ROOT / ".dockerignore").read_text().splitlines()

    assert {rule[1:] for rule in rules if rule.startswith("!")} == set(copied_from_context())
    assert "*" in rules


def test_every_application_and_settings_module_is_copied(settings: Any) -> None:
    ours = {app for app in settings.INSTALLED_APPS if (ROOT / app.replace(".", "/")).is_dir()}

    assert {app.partition(".")[0] for app in ours} | {"settings"} <= set(copied_from_context())


def test_what_is_copied_is_all_that_the_service_needs(tmp_path: Path) -> None:
    for source in copied_from_context():
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, tmp_path / source)
        else:
            (tmp_path / source).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / source, tmp_path / source)
    result = subprocess.run(
        [sys.executable, "manage.py", "spectacular", "--validate", "--file", os.devnull],
        cwd=tmp_path,
        env={**environment_of("web"), "ENV_FILE": os.devnull},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (result.returncode, result.stderr) == (0, "")


def test_it_runs_as_a_user_who_is_not_root() -> None:
    users = [arguments for name, arguments in final_image() if name == "USER"]

    assert [re.fullmatch(r"([1-9]\d*):([1-9]\d*)", user) is not None for user in users] == [True]


def test_static_files_are_collected_to_where_they_are_served_from() -> None:
    base, build, last = stages()

    assert "STATIC_ROOT=/app/static" in dict(base)["ENV"]
    assert any("collectstatic" in arguments for name, arguments in build if name == "RUN")
    assert all("STATIC_ROOT" not in arguments for _, arguments in [*build, *last])
    assert ("COPY", "--from=build /app /app") in last


def test_only_pinned_and_hashed_packages_are_installed() -> None:
    [install] = [arguments for name, arguments in stages()[1] if name == "RUN" and "pip" in arguments]

    assert "--require-hashes" in install
    assert "COPY requirements/runtime.txt /tmp/runtime.txt" in DOCKERFILE
    assert install.endswith("--requirement /tmp/runtime.txt")


@pytest.mark.parametrize("service", SERVICES)
def test_no_service_can_write_to_its_image_or_get_more_rights(service: str) -> None:
    given = SERVICES[service]

    assert given["read_only"] is True
    assert given["cap_drop"] == ["ALL"]
    assert given["security_opt"] == ["no-new-privileges:true"]
    assert not given.keys() & {"cap_add", "privileged", "devices", "network_mode", "pid", "ipc"}


@pytest.mark.parametrize("service", OTHERS)
def test_every_other_service_runs_as_its_images_user_within_limits(service: str) -> None:
    given = SERVICES[service]

    assert given["user"] == service  # each image names its user like the server
    assert re.fullmatch(r"[1-9]\d*[mg]", given["mem_limit"])
    assert given["pids_limit"] > 0


@pytest.mark.parametrize(
    ("service", "written"),
    [
        ("postgres", ["/var/lib/postgresql/data", "/var/run/postgresql", TMP]),
        ("rabbitmq", ["/var/lib/rabbitmq", "/var/log/rabbitmq", TMP]),
        ("valkey", ["/data"]),
    ],
)
def test_what_a_service_writes_to_is_a_volume_or_is_in_memory(service: str, written: list[str]) -> None:
    tmpfs = SERVICES[service]["tmpfs"]
    mounts = [mount.split(":") for mount in SERVICES[service].get("volumes", [])]
    writable = {mount[1] for mount in mounts if mount[-1] != "ro"} | set([tmpfs] if isinstance(tmpfs, str) else tmpfs)

    assert writable == set(written)


def test_the_service_is_not_postgresqls_superuser() -> None:
    user = urlsplit(environment_of("web")["DATABASE_URL"]).username

    assert user == "vazifa" != environment_of("postgres")["POSTGRES_USER"]


def test_the_health_check_of_valkey_fails_without_the_password() -> None:
    assert SERVICES["valkey"]["healthcheck"]["test"] == ["CMD", "valkey-cli", "-e", "ping"]
    assert "--requirepass" in SERVICES["valkey"]["command"]


@pytest.mark.parametrize("service", ["postgres", "rabbitmq"])
def test_the_files_of_a_server_are_mounted_read_only(service: str) -> None:
    mounts = [mount.split(":") for mount in SERVICES[service]["volumes"] if mount.startswith("./")]

    assert [(ROOT / source).is_file() and mode == "ro" for source, _, mode in mounts] == [True]
