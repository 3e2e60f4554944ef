"""A private nginx on loopback with the configuration of `deploy/nginx`, for tests."""

import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from project.local.servers.errors import ServerUnavailable
from project.local.servers.ports import LOOPBACK, free_port, listens
from project.local.servers.postgresql import account_for_root
from project.local.servers.process import Program
from project.local.servers.server import PrivateServer
from project.local.stack import ROOT

CONFIGURATION = ROOT / "deploy" / "nginx" / "vazifa.conf"
PROGRAM = "/usr/sbin/nginx"
MAIN = """\
daemon off;
worker_processes 1;
pid {place}/pid;
error_log {place}/error.log warn;
events {{ worker_connections 1024; }}
http {{
    default_type application/octet-stream;
    access_log {place}/access.log;
    client_body_temp_path {place}/body;
    proxy_temp_path {place}/proxy;
    fastcgi_temp_path {place}/fastcgi;
    uwsgi_temp_path {place}/uwsgi;
    scgi_temp_path {place}/scgi;
    include {place}/vazifa.conf;
}}
"""


@dataclass(kw_only=True)
class PrivateNginx(PrivateServer):
    """nginx before a service on loopback; of its configuration only ports and the certificate's place are replaced."""

    title: ClassVar[str] = "nginx"

    service_port: int

    http_port: int = field(default_factory=free_port)

    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        super().__post_init__()
        # Another account may not read in root's directories.
        self.place = Path(tempfile.mkdtemp(prefix="vazifa-nginx-", dir="/tmp"))

    def prepare(self) -> None:
        make_certificate(self.place)
        text = CONFIGURATION.read_text("utf-8")
        for old, new in {
            "127.0.0.1:8000": f"{LOOPBACK}:{self.service_port}",
            "listen 80;": f"listen {LOOPBACK}:{self.http_port};",
            "listen 443 ssl": f"listen {LOOPBACK}:{self.port} ssl",
            "/etc/ssl/vazifa": str(self.place),
        }.items():
            assert old in text, old
            text = text.replace(old, new)
        text = "".join(line for line in text.splitlines(keepends=True) if "listen [::]" not in line)
        (self.place / "vazifa.conf").write_text(text, "utf-8")
        (self.place / "nginx.conf").write_text(MAIN.format(place=self.place), "utf-8")
        if (account := account_for_root()) is not None:
            for path in (self.place, *self.place.iterdir()):
                shutil.chown(path, account.pw_uid, account.pw_gid)

    def programs(self) -> list[Program]:
        program = Program(
            name="nginx",
            command=(PROGRAM, "-e", str(self.place / "error.log"), "-c", str(self.place / "nginx.conf")),
            environment={},
            working_directory=Path("/"),
            is_ready=lambda: listens(LOOPBACK, self.port),
            account=account_for_root(),
        )
        return [program]

    def ports(self) -> tuple[int, ...]:
        return (self.port, self.http_port)

    def logs(self) -> tuple[Path, ...]:
        return (self.directory / "nginx.log", self.place / "error.log")

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        shutil.rmtree(self.place)


def make_certificate(place: Path) -> None:
    """Write a certificate that nobody but the test trusts, and its key."""
    kind = ["-x509", "-days", "2", "-subj", "/CN=vazifa.example"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-keyout", str(place / "privkey.pem"), "-out", str(place / "fullchain.pem")]
    subprocess.run(["/usr/bin/openssl", "req", *kind, *key, *files], check=True, capture_output=True)


def require_programs() -> None:
    """Say what is missing.

    Raises:
        ServerUnavailable: nginx or openssl is not installed.
    """
    if missing := [name for name in (PROGRAM, "/usr/bin/openssl") if not Path(name).exists()]:
        raise ServerUnavailable(f"{', '.join(missing)} missing. Install them (`apt-get install nginx-light openssl`).")
