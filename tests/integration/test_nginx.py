"""nginx before the service, with the configuration that we ship: what it bounds, buffers, compresses and sets."""

import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from project.local.servers.errors import ServerUnavailable
from project.local.servers.ports import LOOPBACK
from project.local.servers.process import wait_until
from tests.conftest import skip_or_fail
from tests.integration.gunicorn_server import TIMEOUT_SECONDS, Web
from tests.integration.nginx import PrivateNginx, require_programs
from tests.integration.slow_clients import ADDRESS, SlowClients
from tests.integration.test_slow_clients import BODY, FILL, HEAD, PASSWORD, STATIC

pytestmark = pytest.mark.integration

NAME = "vazifa.example"
# The certificate is signed by nobody.
UNTRUSTED = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
UNTRUSTED.check_hostname, UNTRUSTED.verify_mode = False, ssl.CERT_NONE
FORGED = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "1",
    "Forwarded": "for=203.0.113.9",
    "X_Forwarded_For": "203.0.113.9",
    "SCRIPT_NAME": "/evil",
}


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """The service behind the proxy, with users and tasks."""
    variables = {
        "THROTTLE_ANON": "off",
        "THROTTLE_USER": "off",
        "NUM_PROXIES": "1",
        "STREAM_CLIENTS_PER_USER": "16",
        "ALLOWED_HOSTS": f"{NAME},127.0.0.1",
    }
    application = "tests.integration.misbehaving_application"
    with Web(tmp_path_factory.mktemp("web"), application=application, WEB_THREADS="16", **variables) as web:
        web.run("shell", "--no-imports", "-c", FILL)
        yield web


@pytest.fixture(scope="module")
def nginx(web: Web, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateNginx]:
    """A running nginx."""
    try:
        require_programs()
    except ServerUnavailable as error:
        skip_or_fail(str(error))
    with PrivateNginx(directory=tmp_path_factory.mktemp("nginx"), service_port=web.port) as nginx:
        yield nginx


def client_from(address: str, nginx: PrivateNginx) -> httpx.Client:
    transport = httpx.HTTPTransport(local_address=address, verify=UNTRUSTED, limits=httpx.Limits(max_connections=None))
    url = f"https://{LOOPBACK}:{nginx.port}"
    return httpx.Client(base_url=url, transport=transport, headers={"Host": NAME}, timeout=TIMEOUT_SECONDS)


@pytest.fixture
def client(nginx: PrivateNginx) -> Iterator[httpx.Client]:
    """A client of the service, over TLS."""
    with client_from(LOOPBACK, nginx) as client:
        yield client


@pytest.fixture
def signed_in(client: httpx.Client) -> httpx.Client:
    """A client with a token."""
    answer = client.post("/api/token/", json={"username": "honest", "password": PASSWORD})
    client.headers["Authorization"] = f"Bearer {answer.raise_for_status().json()['access']}"
    return client


class TestHeaders:
    def test_who_the_client_is_and_how_it_came_is_set_by_the_proxy_alone(self, client: httpx.Client) -> None:
        shown = client.get("/shown/", headers=FORGED).json()

        assert (shown["HTTP_X_FORWARDED_FOR"], shown["HTTP_X_FORWARDED_PROTO"]) == (LOOPBACK, "https")
        assert (shown["HTTP_HOST"], shown["SCRIPT_NAME"]) == (NAME, "")
        assert not {"HTTP_FORWARDED", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PORT"} & set(shown)
        assert "203.0.113.9" not in str(shown)

    def test_http_leads_to_https(self, nginx: PrivateNginx) -> None:
        answer = httpx.post(f"http://{LOOPBACK}:{nginx.http_port}/tasks/?a=b", headers={"Host": NAME})

        assert (answer.status_code, answer.headers["Location"]) == (308, f"https://{NAME}/tasks/?a=b")

    def test_no_version_is_named(self, client: httpx.Client) -> None:
        assert client.get("/health/live/").headers["Server"] == "nginx"


class TestCompression:
    @pytest.mark.parametrize("path", ["/tasks/", "/tasks/export/", "/tasks/export/?format=csv", STATIC])
    def test_what_holds_no_secret_is_compressed(self, signed_in: httpx.Client, path: str) -> None:
        assert signed_in.get(path, headers={"Accept-Encoding": "gzip"}).headers.get("Content-Encoding") == "gzip"

    def test_a_token_is_not(self, client: httpx.Client) -> None:
        asked = {"username": "honest", "password": PASSWORD}
        answer = client.post("/api/token/", json=asked, headers={"Accept-Encoding": "gzip"})

        assert answer.status_code == 200
        assert "Content-Encoding" not in answer.headers

    def test_a_task_is_compressed_and_its_etag_made_weak_and_good_for_one_change(self, signed_in: httpx.Client) -> None:
        signed_in.headers["Accept-Encoding"] = "gzip"
        task = {"title": "Bir", "description": "x" * 5_000}
        created = signed_in.post("/tasks/", json=task)
        address = f"/tasks/{created.json()['id']}/"
        read = signed_in.get(address)
        etag = read.headers["ETag"]
        assert read.headers["Content-Encoding"] == "gzip"
        assert etag == f"W/{created.headers['ETag']}"

        assert signed_in.get(address, headers={"If-None-Match": etag}).status_code == 304
        changed = [signed_in.patch(address, json={"title": title}, headers={"If-Match": etag}) for title in "ab"]
        assert [answer.status_code for answer in changed] == [200, 412]
        assert signed_in.get(address, headers={"If-None-Match": etag}).json()["title"] == "a"
        assert signed_in.delete(address, headers={"If-Match": changed[0].headers["ETag"]}).status_code == 204


def test_a_deletion_of_many_keeps_its_body(signed_in: httpx.Client) -> None:
    created = signed_in.post(
        "/tasks/bulk/", json=[{"title": f"{number}", "description": "x" * 1_000} for number in "12"]
    )
    many = [{"id": task["id"]} for task in created.json()]

    changed = signed_in.patch("/tasks/bulk/", json=[{**each, "completed": True} for each in many])
    deleted = [signed_in.request("DELETE", "/tasks/bulk/", json=many) for _ in range(2)]

    assert [task["completed"] for task in changed.json()] == [True, True]
    assert [answer.status_code for answer in deleted] == [204, 404]


def test_the_stream_comes_at_once_and_as_it_is(signed_in: httpx.Client) -> None:
    headers = {"Accept-Encoding": "gzip", "Accept": "text/event-stream"}
    with signed_in.stream("GET", "/activity/stream/", headers=headers) as answer:
        assert next(answer.iter_lines()) == "retry: 1000"
        assert "Content-Encoding" not in answer.headers


def assert_is_told_to_come_back(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
    assert answer.headers["Cache-Control"] == "no-cache"
    assert re.fullmatch("retry: [5-9][05]00\n\n", answer.text)


def test_an_event_source_beyond_those_of_an_address_is_told_to_come_back(
    nginx: PrivateNginx, signed_in: httpx.Client
) -> None:
    with ExitStack() as stack:
        client = stack.enter_context(client_from("127.0.0.4", nginx))
        client.headers.update(signed_in.headers)
        client.headers["Accept"] = "text/event-stream"
        streams = [stack.enter_context(client.stream("GET", "/activity/stream/")).iter_lines() for _ in range(10)]
        assert [next(lines) for lines in streams] == ["retry: 1000"] * 10

        assert_is_told_to_come_back(client.get("/activity/stream/"))
        assert client.get("/activity/stream/", headers={"Accept": "*/*"}).status_code == 429


def test_an_event_source_comes_back_while_the_service_starts_anew(
    nginx: PrivateNginx, closed_port: int, tmp_path: Path
) -> None:
    with PrivateNginx(directory=tmp_path, service_port=closed_port) as alone, client_from(LOOPBACK, alone) as client:
        assert_is_told_to_come_back(client.get("/activity/stream/", headers={"Accept": "text/event-stream"}))
        assert client.get("/activity/stream/", headers={"Accept": "*/*"}).status_code == 502
        assert client.get("/tasks/", headers={"Accept": "text/event-stream"}).status_code == 502


def test_a_response_that_breaks_off_does_not_look_whole(nginx: PrivateNginx) -> None:
    request = f"GET /breaks-off/ HTTP/1.1\r\nHost: {NAME}\r\n\r\n".encode()
    plain = socket.create_connection((LOOPBACK, nginx.port), TIMEOUT_SECONDS)
    with UNTRUSTED.wrap_socket(plain, suppress_ragged_eofs=True) as connection:
        connection.sendall(request)
        received = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert b"Transfer-Encoding: chunked" in received
    assert b"half of it" in received
    assert not received.endswith(b"0\r\n\r\n")


def test_a_body_that_is_too_large_is_refused(client: httpx.Client) -> None:
    one_and_a_half = client.post("/api/token/", content=b"x" * 1_500_000, headers={"Content-Type": "application/json"})
    assert (one_and_a_half.status_code, one_and_a_half.headers["Content-Type"]) == (413, "application/json")

    assert client.post("/api/token/", content=b"x" * 3_000_000).status_code == 413


def test_one_address_leaves_connections_for_others(nginx: PrivateNginx, client: httpx.Client) -> None:
    begun = BODY.replace(b"127.0.0.1", NAME.encode()).replace(b"/api/token/", b"/tasks/")
    refused = 0
    with ExitStack() as open_ones:
        connections = []
        for _ in range(60):
            plain = socket.create_connection((LOOPBACK, nginx.port), TIMEOUT_SECONDS, source_address=(ADDRESS, 0))
            connections.append(open_ones.enter_context(UNTRUSTED.wrap_socket(plain)))
        for connection in connections:
            connection.sendall(begun)
        for connection in connections:
            connection.settimeout(0.05)
            with suppress(TimeoutError):
                refused += connection.recv(100).startswith(b"HTTP/1.1 429 ")
        assert client.get("/health/live/").status_code == 200

    assert refused == 60 - 50


def test_one_address_makes_no_more_logins_than_allowed(nginx: PrivateNginx, client: httpx.Client) -> None:
    with client_from("127.0.0.3", nginx) as other:
        statuses = [other.post("/api/token/", json={}).status_code for _ in range(60)]

    assert statuses[:20] == [400] * 20
    assert 429 in statuses
    assert client.post("/api/token/", json={"username": "honest", "password": PASSWORD}).status_code == 200


def test_no_slow_request_reaches_the_service(web: Web, nginx: PrivateNginx, client: httpx.Client) -> None:
    requests = [text.replace(b"127.0.0.1", NAME.encode()) for text in (HEAD, BODY)]
    with SlowClients(nginx.port, 100, *requests, drips=True, tls=UNTRUSTED):
        assert [client.get("/health/live/").status_code for _ in range(20)] == [200] * 20
        [worker] = web.workers()
        assert wait_until(lambda: not connections_of(worker, web.port), timeout_seconds=TIMEOUT_SECONDS)


def connections_of(worker: psutil.Process, port: int) -> list[object]:
    found = worker.net_connections("tcp")
    return [each for each in found if each.laddr.port == port and each.status == psutil.CONN_ESTABLISHED]
