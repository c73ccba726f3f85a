"""The two sides of a comparison, each in a temporary home: our cluster, and ipcluster's."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.bench import ROOT, processes

_PROFILE = "bench"
"""Not cncp's own: units of the system are named after the profile, and a real cluster goes on."""

_FOREIGN = ("CNCP_", "XDG_", "IPP_", "IPYTHON", "UV_CACHE", "PIP_CACHE", "PIP_NO_CACHE", "SUDO_", "VIRTUAL_ENV")
"""What would lead out of the temporary home, or have one side start with a full cache."""


class BenchError(Exception):
    """A program that is to be measured has failed."""


@dataclass(frozen=True)
class Site:
    """A folder with a home and a CNCP_HOME of its own."""

    folder: Path

    @property
    def home(self) -> Path:
        """HOME."""
        return self.folder / "home"

    @property
    def cncp_home(self) -> Path:
        """CNCP_HOME."""
        return self.folder / "cncp"

    @property
    def connection_file(self) -> Path:
        """What a client of our cluster reads."""
        return self.home / ".ipython" / f"profile_{_PROFILE}" / "security" / "ipcontroller-client.json"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of whoever works here."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
        own = {"HOME": str(self.home), "CNCP_HOME": str(self.cncp_home), "CNCP_CHEF_INSTALL": "no"}
        # The packages come from where this user has them, although the home is another.
        configuration = Path.home() / ".config" / "pip" / "pip.conf"
        if configuration.exists():
            kept.setdefault("PIP_CONFIG_FILE", str(configuration))
        return {**kept, **own}

    def baremetal(self, engines: int, *options: str) -> list[str]:
        """Return the command that installs and starts a cluster.

        By the embedded engine, because Chef is measured by itself.
        """
        settings = ["--profile", _PROFILE, "--converge", "embedded", "--engines", str(engines)]
        return ["bash", str(ROOT / "baremetal.sh"), *settings, *options]

    def cncp(self, *words: str) -> list[str]:
        """Return the command that a user would type as ``cncp``."""
        return [str(self.home / ".local" / "bin" / "cncp"), *words]

    def venv(self, program: str) -> Path:
        """Return a program of the virtualenv."""
        return self.cncp_home / "venv" / "bin" / program

    def run(self, command: list[str]) -> None:
        """Run a command to its end. Raises BenchError with what it said."""
        with self.started(command) as process:
            said = process.communicate()[0]
            finished(process, said)

    def started(self, command: list[str]) -> subprocess.Popen[str]:
        """Start a command, away from the terminal's Ctrl-C, which is ours to deal with."""
        return subprocess.Popen(
            command,
            cwd="/",
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def remove(self) -> None:
        """Stop and remove everything, also after a failure half-way."""
        with contextlib.suppress(BenchError):
            if (self.cncp_home / "node.json").exists():
                self.run([str(self.venv("python")), "-s", "-m", "cncp", "uninstall", "--quiet"])
        processes.end(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def site() -> Iterator[Site]:
    """Make a site and remove it, however this ends."""
    # A short path: supervisord's socket lies in it.
    made = Site(Path(tempfile.mkdtemp(prefix="cncp-bench-")))
    try:
        made.home.mkdir()
        yield made
    finally:
        # A second Ctrl-C would leave services running.
        former = signal.signal(signal.SIGINT, signal.SIG_IGN)
        made.remove()
        signal.signal(signal.SIGINT, former)


def finished(process: subprocess.Popen[str], said: str) -> None:
    """Raise BenchError with the last words of a process that did not exit with 0."""
    if process.wait():
        words = [*map(str, process.args)] if isinstance(process.args, list) else [str(process.args)]
        raise BenchError(f"{' '.join(words)} exited with {process.returncode}:\n{said[-2000:]}")


@dataclass(frozen=True)
class Ipcluster:
    """``ipcluster start``, as its documentation has it, in a profile of its own."""

    program: Path
    site: Site

    @property
    def connection_file(self) -> Path:
        """What a client of this cluster reads."""
        return self.site.home / ".ipython" / "profile_default" / "security" / "ipcontroller-client.json"

    def start(self, engines: int) -> subprocess.Popen[str]:
        """Start a cluster; do not wait for it."""
        # What a cluster that was killed has left would be taken for the new one's.
        self.connection_file.unlink(missing_ok=True)
        return self.site.started([str(self.program), "start", "-n", str(engines)])

    def stop(self, process: subprocess.Popen[str]) -> None:
        """Stop it as Ctrl-C would, and see to it that it is gone."""
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=20)
        deadline = time.monotonic() + 5
        while processes.of(self.program) and time.monotonic() < deadline:
            time.sleep(0.1)
        processes.end(self.program.parent.parent)
        process.communicate()


def python(environment: Mapping[str, str]) -> str:
    """Return the Python that a user of this PATH gets."""
    return shutil.which("python3", path=environment.get("PATH")) or "python3"
