"""A user of a lab host with our code in hand: what a person on that machine would do."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pexpect

from .command import run
from .host import Host

ROOT = Path(__file__).resolve().parents[2]
CODE = ("baremetal.sh", "bootstrap", "cookbooks", "notebooks", "roles", "vm")

CLIENT = """
import json, os, sys
import ipyparallel
client = ipyparallel.Client(profile=sys.argv[1], timeout=20)
pids = client[:].apply_async(os.getpid).get(timeout=20)
print(json.dumps(dict(zip(map(str, client.ids), pids))))
"""


class Site:
    """One account on one host. ``work`` is the folder that holds the checkout."""

    def __init__(self, host: Host, user: str) -> None:
        self.host = host
        self.user = user
        self.home = "/root" if user == "root" else f"/home/{user}"
        self.work = f"{self.home}/work"
        self.state = f"{self.home}/.local/share/cncp"

    def check_out(self) -> None:
        """Give the user the code of this repository, as committed or changed here."""
        self.host.exec(["mkdir", "-p", self.work])
        self.host.exec(["tar", "-x", "-C", self.work], input=checkout())
        self.host.exec(["chown", "-R", self.user, self.work])

    def baremetal(self, *words: str, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run baremetal.sh as a login of this user."""
        argv = ["bash", f"{self.work}/baremetal.sh", *words]
        return self.host.run(argv, self.user, env=variables or None, check=check, timeout=240)

    def baremetal_on_tty(self, *words: str, password: str) -> tuple[int, str]:
        """Run baremetal.sh on a terminal and answer the prompts for a password; give status and output."""
        return self.on_tty(["bash", f"{self.work}/baremetal.sh", *words], password)

    def on_tty(self, argv: list[str], password: str) -> tuple[int, str]:
        """Run a command on a terminal and answer the prompts for a password; give status and output."""
        terminal = self.host.shell_tty(argv, self.user, timeout=240)
        said = ""
        while terminal.expect(["assword.*:", pexpect.EOF]) == 0:
            said += str(terminal.before)
            terminal.sendline(password)
        said += str(terminal.before)
        terminal.close()
        return int(terminal.exitstatus or 0), said

    def cncp(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the cncp command as a login of this user."""
        return self.host.run([f"{self.home}/.local/bin/cncp", *words], self.user, check=check, timeout=240)

    def status(self) -> dict[str, dict[str, Any]]:
        """Return `cncp status --json` by service."""
        return {service["name"]: service for service in json.loads(self.cncp("status", "--json").stdout)}

    def python(self, code: str, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run code with the virtualenv's Python as a login of this user."""
        return self.host.run([f"{self.state}/venv/bin/python", "-c", code, *words], self.user, check=check)

    @contextmanager
    def without(self, package: str) -> Iterator[None]:
        """Take a package out of the virtualenv for a while: one in another, or `up` would bring it back."""
        find = "import importlib.util as u, sys; print(u.find_spec(sys.argv[1]).submodule_search_locations[0])"
        folder = self.python(find, package).stdout.strip()
        self.host.exec(["mv", folder, f"{folder}.away"])
        try:
            yield
        finally:
            self.host.exec(["mv", f"{folder}.away", folder])

    def ask_engines(self, profile: str = "cncp") -> dict[str, int]:
        """Have every engine compute; return their process ids by engine id."""
        return dict(json.loads(self.python(CLIENT, profile).stdout))

    def await_engines(self, count: int, timeout: float = 60) -> dict[str, dict[str, Any]]:
        """Wait until ``count`` engines answer, however the host came up; return the status."""

        def ready() -> dict[str, dict[str, Any]] | None:
            shown = self.status()
            answering = [name for name, service in shown.items() if service["state"] in ("idle", "busy")]
            return shown if len(answering) == count else None

        return dict(until(ready, timeout, f"{count} engines of {self.user}@{self.host.name}"))

    @contextmanager
    def client(self, code: str) -> Iterator[subprocess.Popen[str]]:
        """Run a client in the background: its lines on stdout, ours on stdin."""
        argv = [*self.host.ssh_command(self.user), f"{self.state}/venv/bin/python", "-u", "-"]
        with subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        ) as process:
            assert process.stdin is not None
            process.stdin.write(code)
            process.stdin.close()
            try:
                yield process
            finally:
                process.kill()

    def tree(self) -> dict[str, str]:
        """Return all that a run may touch: mode and content of every file, outside of what machines change."""
        places = [self.home, "/etc/systemd", "/var/lib/systemd/linger", "/var/spool/cron/crontabs", "/usr/local"]
        # sudo leaves a mark of its own at its first use.
        others = ["-not", "-path", f"{self.work}/*", "-not", "-name", ".sudo_as_admin*"]

        def find(*words: str) -> list[str]:
            return self.host.exec(["find", *places, *others, *words], check=False).stdout.splitlines()

        found = dict(line.split("\t", 1) for line in find("-printf", r"%p\t%M %u %g %l\n"))
        for line in find("-type", "f", "-exec", "sha256sum", "{}", "+"):
            digest, _, path = line.partition("  ")
            found[path] += f" {digest}"
        return found


def until(probe: Callable[[], Any], timeout: float, condition: str) -> Any:
    """Ask until the answer is true and return it; fail after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        began = time.monotonic()
        answer = probe()
        now = time.monotonic()
        if answer:
            return answer
        if now > deadline:
            raise AssertionError(f"not within {timeout:g} s: {condition}")
        # What is awaited needs the processor as well.
        time.sleep(min(0.5, max(0.1, now - began)))


def checkout() -> bytes:
    """Return an archive of what users check out: the working tree's tracked and new files but for the tests."""
    listed = run(
        ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *CODE]
    ).stdout
    names = [name for name in listed.split("\0") if name and (ROOT / name).exists()]
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name in names:
            tar.add(ROOT / name, name)
    return packed.getvalue()
