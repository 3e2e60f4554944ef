"""A node's directory can be prepared again and again, and keeps the node's identity."""

import os
import stat
from pathlib import Path

import pytest

from project.local.servers.ports import is_free
from project.local.servers.rabbitmq import Installation, PrivateRabbitmq


@pytest.fixture
def installation() -> Installation:
    return Installation(
        server=Path("/opt/rabbitmq/sbin/rabbitmq-server"),
        rabbitmqctl=Path("/opt/rabbitmq/sbin/rabbitmqctl"),
        erlang_bin=Path("/opt/erlang/bin"),
        epmd=Path("/opt/erlang/bin/epmd"),
    )


def test_the_node_keeps_its_name_and_cookie_on_other_ports(installation: Installation, tmp_path: Path) -> None:
    first = PrivateRabbitmq(installation=installation, directory=tmp_path)
    first.prepare()
    name, cookie = first.files.node_name, (tmp_path / "home/.erlang.cookie").read_text()

    second = PrivateRabbitmq(installation=installation, directory=tmp_path)
    second.prepare()

    assert second.amqp_port != first.amqp_port
    assert second.files.node_name == name
    assert (tmp_path / "home/.erlang.cookie").read_text() == cookie


def test_nodes_in_different_directories_have_different_names(installation: Installation, tmp_path: Path) -> None:
    nodes = [PrivateRabbitmq(installation=installation, directory=tmp_path / name) for name in "ab"]
    for node in nodes:
        node.prepare()

    assert nodes[0].files.node_name != nodes[1].files.node_name


def test_the_cookie_is_for_its_owner_only(installation: Installation, tmp_path: Path) -> None:
    PrivateRabbitmq(installation=installation, directory=tmp_path).prepare()

    assert stat.S_IMODE((tmp_path / "home/.erlang.cookie").stat().st_mode) == 0o600


def test_the_node_keeps_its_password_and_no_two_have_the_same(installation: Installation, tmp_path: Path) -> None:
    first, again = (PrivateRabbitmq(installation=installation, directory=tmp_path / "a") for _ in range(2))
    other = PrivateRabbitmq(installation=installation, directory=tmp_path / "b")
    for node in (first, again, other):
        node.prepare()

    assert first.url == f"amqp://vazifa:{again.password}@127.0.0.1:{first.amqp_port}/"
    assert len(first.password) == 40
    assert other.password != first.password


def test_only_the_owner_can_read_anything_of_a_node(installation: Installation, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        PrivateRabbitmq(installation=installation, directory=tmp_path / "node").prepare()
    finally:
        os.umask(before)

    modes = {path: stat.S_IMODE((tmp_path / "node" / path).stat().st_mode) for path in ("", "data", "log", "home")}
    assert set(modes.values()) == {0o700}
    for name in ("rabbitmq.conf", "password", "home/.erlang.cookie"):
        assert stat.S_IMODE((tmp_path / "node" / name).stat().st_mode) == 0o600, name


def test_its_user_is_no_administrator_and_there_is_no_guest(installation: Installation, tmp_path: Path) -> None:
    PrivateRabbitmq(installation=installation, directory=tmp_path).prepare()
    configuration = (tmp_path / "rabbitmq.conf").read_text()

    assert "default_user = vazifa" in configuration
    assert "default_user_tags.management = true" in configuration
    assert "administrator" not in configuration
    assert "guest" not in configuration


def test_everything_listens_on_loopback(installation: Installation, tmp_path: Path) -> None:
    node = PrivateRabbitmq(installation=installation, directory=tmp_path)
    node.prepare()
    configuration = (tmp_path / "rabbitmq.conf").read_text()
    epmd, server = node.programs()

    assert f"listeners.tcp.1 = 127.0.0.1:{node.amqp_port}" in configuration
    assert "management.tcp.ip = 127.0.0.1" in configuration
    assert epmd.command[-2:] == ("-address", "127.0.0.1")
    assert "inet_dist_use_interface {127,0,0,1}" in server.environment["ERL_AFLAGS"]


def test_without_the_management_plugin_nothing_is_configured_for_it(installation: Installation, tmp_path: Path) -> None:
    PrivateRabbitmq(installation=installation, directory=tmp_path, plugins=()).prepare()

    assert "management.tcp" not in (tmp_path / "rabbitmq.conf").read_text()
    assert (tmp_path / "enabled_plugins").read_text() == "[].\n"


def test_the_programs_know_nothing_of_the_callers_environment(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RABBITMQ_CONFIG_FILES", "/etc/rabbitmq/conf.d")
    node = PrivateRabbitmq(installation=installation, directory=tmp_path)
    node.prepare()

    assert all("RABBITMQ_CONFIG_FILES" not in program.environment for program in node.programs())


def test_its_ports_are_free_and_all_different(installation: Installation, tmp_path: Path) -> None:
    node = PrivateRabbitmq(installation=installation, directory=tmp_path)
    ports = {node.amqp_port, node.management_port, node.dist_port, node.epmd_port}

    assert len(ports) == 4
    assert all(map(is_free, ports))
