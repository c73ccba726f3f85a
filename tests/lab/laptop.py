"""A user's own machine: a checkout and the Python packages, no cluster; hosts known by name, no key yet."""

from __future__ import annotations

import subprocess

import pexpect

from .host import Host
from .site import Site


class Laptop(Site):
    """One account on a machine that only ever was a client."""

    def prepare(self, *others: Host) -> None:
        """Install the packages alone, and make the other hosts known by name."""
        self.baremetal(CNCP_INSTALL_ONLY="true")
        known = self.host.read("/etc/hosts")
        lines = "".join(f"{other.address} {other.name}\n" for other in others)
        self.host.write("/etc/hosts", f"{known}\n{lines}")

    def task_key(self) -> None:
        """Make our ssh key, without a passphrase."""
        self.host.run(["mkdir", "-p", "-m", "700", f"{self.home}/.ssh"], self.user)
        key = f"{self.home}/.ssh/cncp_ed25519"
        self.host.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], self.user)

    def let_in(self, site: Site) -> None:
        """Have another host take that key."""
        public = self.host.read(f"{self.home}/.ssh/cncp_ed25519.pub")
        site.host.write(f"{site.home}/.ssh/authorized_keys", public, site.user, 0o600)

    def words(self, *words: str) -> list[str]:
        """Return the command line of a task, as `invoke` in the checkout would run it."""
        python = f"{self.state}/venv/bin/python"
        return ["env", f"PYTHONPATH={self.work}/bootstrap", python, "-m", "cncp", *words]

    def task(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a task without a terminal."""
        return self.host.run(self.words(*words), self.user, check=check, timeout=120)

    def task_on_tty(self, *words: str, answers: dict[str, str]) -> tuple[int, str]:
        """Run a task on a terminal; answer each prompt that matches a key with its value."""
        terminal: pexpect.spawn[str] = self.host.shell_tty(self.words(*words), self.user, timeout=120)
        prompts = list(answers)
        said = ""
        while (index := terminal.expect([*prompts, pexpect.EOF])) < len(prompts):
            said += str(terminal.before) + str(terminal.after)
            terminal.sendline(answers[prompts[index]])
        said += str(terminal.before)
        terminal.close()
        return int(terminal.exitstatus or 0), said
