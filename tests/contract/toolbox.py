"""The programs that read the OpenAPI schema as clients do: a linter, and two makers of clients. In `var/cache`.

Each has its exact version here; neither the service nor its tests import any of them.
"""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

NPM_PACKAGES = ("@redocly/cli@2.77.0", "openapi-typescript@7.13.0", "openapi-fetch@0.17.0", "typescript@5.9.3")
PYTHON_PACKAGES = ("openapi-python-client==0.29.1",)
INSTALL_TIMEOUT_SECONDS = 300


class ToolsUnavailable(Exception):
    """Raised when a tool is neither there nor can be installed."""


@dataclass(frozen=True)
class Toolbox:
    """Where the tools are."""

    directory: Path

    @property
    def python(self) -> Path:
        """The Python that has `PYTHON_PACKAGES`."""
        return self.directory / "python/bin/python"

    def npm(self, name: str) -> Path:
        """Return a program of `NPM_PACKAGES`."""
        return self.modules / ".bin" / name

    @property
    def modules(self) -> Path:
        return self.directory / "npm/node_modules"


def find_or_install(cache: Path) -> Toolbox:
    """Return the tools, installed into `cache` if they are not there in their versions.

    Raises:
        ToolsUnavailable: node or npm is missing, or a package cannot be installed.
    """
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise ToolsUnavailable(f"{program} is missing: apt-get install nodejs npm")
    toolbox = Toolbox(cache / "contract")
    done, wanted = toolbox.directory / "installed", "\n".join((sys.version, *NPM_PACKAGES, *PYTHON_PACKAGES))
    if not done.exists() or done.read_text() != wanted:
        shutil.rmtree(toolbox.directory, ignore_errors=True)
        (toolbox.directory / "npm").mkdir(parents=True)
        options = ("--prefix", "npm", "--no-package-lock", "--no-save", "--no-audit", "--no-fund")
        _run("npm", "install", *options, *NPM_PACKAGES, directory=toolbox.directory)
        _run(sys.executable, "-m", "venv", "python", directory=toolbox.directory)
        _run(str(toolbox.python), "-m", "pip", "install", "--quiet", *PYTHON_PACKAGES, directory=toolbox.directory)
        done.write_text(wanted)
    return toolbox


def _run(*command: str, directory: Path) -> None:
    try:
        subprocess.run(
            command, cwd=directory, check=True, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise ToolsUnavailable(f"{command[0]} took more than {INSTALL_TIMEOUT_SECONDS} s.") from error
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ToolsUnavailable(f"{command[0]} cannot install {command[-1]}: {reason}") from error
