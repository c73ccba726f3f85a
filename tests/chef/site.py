"""A home of its own for a cluster, and ways to converge it: `cncp up`, or Chef with the cookbook alone."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

_TRANSIENT = (
    *("cncp/venv", "cncp/tools", "cncp/cache", "cncp/run", "cncp/chef"),
    *("cncp/lock", "cncp/install.lock", "cncp/code.lock", "cncp/cncp.log"),
)
_CONVERGE = """
import json
from pathlib import Path
from cncp.machine.converge import chef
from cncp.machine.actor import Actor
from cncp.machine.node import installed
node = installed(Path({home!r}))
print(json.dumps([change.resource for change in chef.converge(node, chef.find(), Actor(node.account))]))
"""


@dataclass(frozen=True)
class Site:
    """One home for one cluster; ``user`` is the numeric id of who owns and converges it."""

    folder: Path
    user: int
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def cncp_home(self) -> Path:
        """CNCP_HOME."""
        return self.folder / "cncp"

    @property
    def profile(self) -> Path:
        """The IPython profile."""
        return self.folder / "home" / ".ipython" / "profile_cncp"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of whoever works here."""
        own = {"HOME": str(self.folder / "home"), "CNCP_HOME": str(self.cncp_home), "CNCP_CHEF_INSTALL": "no"}
        return {**os.environ, **own, **self.variables}

    def run(self, *words: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a program here to its end."""
        rights: dict[str, Any] = (
            {} if self.user == os.geteuid() else {"user": self.user, "group": self.user, "extra_groups": []}
        )
        done = subprocess.run(
            [str(word) for word in words],
            cwd="/",
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
            **rights,
        )
        if check and done.returncode:
            raise AssertionError(f"{words} exited with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done

    def baremetal(self, *options: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run baremetal.sh with one engine, which is enough to see and light to start."""
        return self.run("bash", ROOT / "baremetal.sh", "--engines", "1", *options, check=check)

    def cncp(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run cncp."""
        return self.run(self.cncp_home / "venv" / "bin" / "python", "-s", "-m", "cncp", *words, check=check)

    def chef_over_it(self) -> list[str]:
        """Have Chef converge what is installed here, and return the resources it changed."""
        code = _CONVERGE.format(home=str(self.cncp_home))
        done = self.run(self.cncp_home / "venv" / "bin" / "python", "-s", "-c", code)
        found: list[str] = json.loads(done.stdout)
        return found

    def solo(
        self, program: Path, attributes: Mapping[str, Any], *options: str, runs: str = "role[compute]"
    ) -> dict[str, Any]:
        """Run Chef with the cookbook alone, as somebody would who knows no cncp; return its report."""
        state = self.folder / "solo"
        report = state / "report.json"
        with contextlib.suppress(FileNotFoundError):
            report.unlink()
        own = {"home": str(self.cncp_home), "packages": False, "engines": 1}
        (state / "node.json").write_text(json.dumps({"cncp": {**own, **attributes}}))
        self.run(program, "-c", state / "solo.rb", "-j", state / "node.json", "-o", runs, *options)
        found: dict[str, Any] = json.loads(report.read_text())
        assert found["success"], found
        return found

    def act(self, program: Path, resource: str, action: str, *options: str, **attributes: Any) -> list[str]:
        """Have a recipe of somebody else's take an action of a resource of ours; return what Chef changed."""
        theirs = self.folder / "solo" / "cookbooks" / "theirs"
        (theirs / "recipes").mkdir(parents=True, exist_ok=True)
        (theirs / "metadata.rb").write_text("name 'theirs'\nversion '1.0.0'\ndepends 'cncp'\n")
        (theirs / "recipes" / "default.rb").write_text(f"{resource}('cncp') {{ action :{action} }}\n")
        report = self.solo(program, attributes, *options, runs="recipe[theirs]")
        return [str(update["resource"]) for update in report["updated"]]

    def tree(self) -> dict[str, tuple[int, int, str]]:
        """Return mode, owner and content of all that stays, by path; keys and digests are left out."""
        return dict(self._entries())

    def _entries(self) -> Iterator[tuple[str, tuple[int, int, str]]]:
        for path in sorted(self.folder.rglob("*")):
            name = str(path.relative_to(self.folder))
            # Bytecode holds when its source was copied.
            passing = r"/profile_cncp/(log|pid|db|history)\b.|/__pycache__\b"
            if name.startswith((*_TRANSIENT, "solo")) or re.search(passing, name):
                continue
            status = path.lstat()
            yield name, (status.st_mode, status.st_uid, self._content(path))

    def _content(self, path: Path) -> str:
        if path.is_symlink():
            return str(path.readlink())
        if path.is_dir() or path.parent.name == "security":
            return ""
        text = path.read_text(errors="replace")
        text = re.sub(r"--digest [0-9a-f]{16}", "--digest X", text)
        text = re.sub(r'"converge": "(chef|embedded|auto)"', '"converge": "X"', text)
        return hashlib.sha256(text.encode()).hexdigest()

    def remove(self) -> None:
        """Stop and remove everything, also after a failure half-way."""
        if (self.cncp_home / "node.json").exists():
            self.cncp("uninstall", check=False)
        with contextlib.suppress(OSError, ValueError):
            daemon = int((self.cncp_home / "run" / "supervisord.pid").read_text())
            if str(self.cncp_home).encode() in Path(f"/proc/{daemon}/cmdline").read_bytes():
                os.kill(daemon, signal.SIGTERM)
                until(lambda: not Path(f"/proc/{daemon}").exists())
        shutil.rmtree(self.folder, ignore_errors=True)


def make(user: int, variables: Mapping[str, str]) -> Site:
    """Make a site. Its path is short: supervisord's socket lies in it."""
    folder = Path(tempfile.mkdtemp(prefix="cncp-", dir="/tmp"))
    site = Site(folder, user, variables)
    folder.chmod(0o755)
    for inner in (folder, folder / "home", folder / "solo", folder / "solo" / "cookbooks"):
        inner.mkdir(exist_ok=True)
        os.chown(inner, user, user if user != os.geteuid() else -1)
    names = ("file_cache_path", "file_backup_path", "checksum_path", "node_path", "chef_guid_path", "lockfile")
    state = [f"{name} '{folder}/solo/{name}'" for name in ("cache_path", *names, "solo_d_dir")]
    handler = ROOT / "cookbooks" / "cncp" / "files" / "chef" / "report.rb"
    lines = [
        f"cookbook_path ['{ROOT}/cookbooks', '{folder}/solo/cookbooks']",
        f"role_path '{ROOT}/roles'",
        *state,
        "run_lock_timeout 0",
        "minimal_ohai true",
        "node_name 'test'",
        f"require '{handler}'",
        f"event_handlers [Cncp::Report.new('{folder}/solo/report.json')]",
    ]
    (folder / "solo" / "solo.rb").write_text("\n".join(lines) + "\n")
    return site


def until(holds: Callable[[], object], seconds: float = 60) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
