"""What an image with engines does for cidkid: has them join a pool's cluster, leave it, drain, and take work again.

Standard library only, and nothing of ours: root runs it in the image, by itself, as the programs ``join``, ``leave``,
``drain`` and ``resume`` of cidkid's; what ``join`` begins, which takes a while, a service goes on with. The code and
what it needs come from a bundle in the image (``cncp bundle.make --engines-only``), and run as an account that can do
nothing else. ``files`` is what an image has for that.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pwd
import socket
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

ACCOUNT, UNIT = "cncp", "cncp-engines.service"
PROGRAMS = ("join", "leave", "drain", "resume")
"""What cidkid calls."""

_HERE = "usr/lib/cncp/engine_host.py"

UNIT_FILE = """\
[Unit]
Description=Engines of this node join their cluster
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=0
ConditionPathExists={seed}

[Service]
Type=oneshot
ExecStart=/usr/bin/python3 -I {program} install
# What is not there yet may come: the controller, the network.
Restart=on-failure
RestartSec=20
"""
"""What ``join`` has systemd run; it is begun by nothing else."""


class EngineHostError(Exception):
    """What was to be done cannot be done; the text says why."""


@dataclass(frozen=True)
class Place:
    """Where things are in an image."""

    root: Path = Path("/")

    @property
    def bundle(self) -> Path:
        """What engines are installed from; an image that ``cncp vm.package`` has made has it there as well."""
        return self.root / "var/lib/cncp-image/cncp.tar"

    @property
    def code(self) -> Path:
        """The bundle's code, which is root's."""
        return self.root / "var/lib/cncp-image/code"

    @property
    def me(self) -> Path:
        """Which node this is."""
        return self.root / "etc/cncp/cidkid.json"

    @property
    def seed(self) -> Path:
        """What engines join by, until they have."""
        return self.root / "run/cncp-engines/seed.json"

    @property
    def said(self) -> Path:
        """Why they have not, for cidkid, which tells cidd."""
        return self.root / "run/cncp/said"

    @property
    def joined(self) -> Path:
        """What they have joined by: a digest."""
        return self.root / "var/lib/cncp-image/joined"

    def state(self, home: Path) -> Path:
        """Return the account's folder of ours."""
        return self.root / str(home).lstrip("/") / ".local/share/cncp"


def files() -> dict[str, tuple[bytes, int]]:
    """Return content and mode of what an image with engines has, by path, besides the bundle and Python's venv."""
    script = "#!/bin/sh\nexec /usr/bin/python3 -I /{program} {verb}\n"
    programs = {f"etc/cncp/cidkid.d/{verb}": script.format(program=_HERE, verb=verb) for verb in PROGRAMS}
    return {
        _HERE: (Path(__file__).read_bytes(), 0o755),
        **{path: (text.encode(), 0o755) for path, text in programs.items()},
    }


def digest(seed: str) -> str:
    """Return what tells seeds apart. Raises EngineHostError for what is none.

    Where the document lies is written anew each time, and is not counted.
    """
    try:
        members = json.loads(seed)
        words = [str(members[name]) for name in ("cluster", "batch", "key")]
    except (ValueError, KeyError, TypeError):
        raise EngineHostError("what cidd gives to join by is no seed") from None
    return hashlib.sha256(" ".join(words).encode()).hexdigest()


class EngineHost:
    """The image it runs in."""

    def __init__(self, place: Place, program: Path) -> None:
        """``program`` is this file, for the service."""
        self._place = place
        self._program = program

    def join(self, seed: str) -> None:
        """Have the engines join by a seed, after this returns. Raises EngineHostError."""
        digest(seed)
        _write(self._place.seed, seed)
        unit = self._place.root / "run/systemd/system" / UNIT
        _write(unit, UNIT_FILE.format(seed=self._place.seed, program=self._program), 0o644)
        _run(["systemctl", "daemon-reload"])
        _run(["systemctl", "restart", "--no-block", UNIT])

    def install(self) -> None:
        """Do what `join` has begun: an image that has been here before starts its engines by itself.

        Raises EngineHostError, and is tried again.
        """
        place = self._place
        try:
            seed = place.seed.read_text()
        except FileNotFoundError:
            # It has been told to leave meanwhile.
            return
        wanted, there, state = digest(seed), _read(place.joined), place.state(self._home())
        self._take_name()
        if wanted != there or not (state / "member.json").exists():
            if there and self._cluster() != json.loads(seed)["cluster"]:
                self._uninstall()
            self._cncp("--offline", str(place.bundle), "--join", "-", given=seed)
            _write(place.joined, wanted)
        place.seed.unlink(missing_ok=True)
        place.said.unlink(missing_ok=True)

    def leave(self) -> None:
        """Have nothing of a cluster be here any more, if there was anything."""
        self._place.seed.unlink(missing_ok=True)
        self._place.said.unlink(missing_ok=True)
        _run(["systemctl", "stop", UNIT], check=False)
        with contextlib.suppress(KeyError):
            if self._place.state(self._home(make=False)).exists():
                self._uninstall()
        self._place.joined.unlink(missing_ok=True)

    def drain(self) -> None:
        """Return once the engines have no task, and get none."""
        _run(["systemctl", "stop", UNIT], check=False)
        self._work("drain")

    def resume(self) -> None:
        """Have the engines get tasks again, and join what they were about to join."""
        if self._place.seed.exists():
            _run(["systemctl", "restart", "--no-block", UNIT])
        self._work("resume")

    def _work(self, verb: str) -> None:
        with contextlib.suppress(KeyError):
            state = self._place.state(self._home(make=False))
            if (state / "node.json").exists():
                argv = [state / "venv/bin/python", "-I", "-Xutf8", "-m", "cncp.remote", "work", verb]
                _run(["runuser", "-u", ACCOUNT, "--", *map(str, argv)])

    def _home(self, *, make: bool = True) -> Path:
        """Return the account's home. Raises KeyError where there is none, and none is to be made."""
        try:
            return Path(pwd.getpwnam(ACCOUNT).pw_dir)
        except KeyError:
            if not make:
                raise
        _run(["useradd", "--create-home", "--shell", "/bin/bash", ACCOUNT])
        return Path(pwd.getpwnam(ACCOUNT).pw_dir)

    def _cluster(self) -> str:
        """Return the cluster that was joined before, "" where that cannot be read."""
        try:
            return str(json.loads((self._place.state(self._home()) / "member.json").read_bytes())["cluster"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def _take_name(self) -> None:
        """Have the host's name be the node's: all nodes boot the same image, and engines are told apart by it."""
        try:
            name = str(json.loads(self._place.me.read_bytes())["node"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EngineHostError(f"{self._place.me} does not say which node this is: {error}") from None
        if socket.gethostname() != name:
            _write(self._place.root / "etc/hostname", f"{name}\n", 0o644)
            socket.sethostname(name)

    def _uninstall(self) -> None:
        self._cncp("cncp", "uninstall", "--quiet")

    def _cncp(self, *words: str, given: str = "") -> None:
        """Run the bundle's code for the account: root runs nothing that the account has installed."""
        if not (self._place.code / "baremetal.sh").exists():
            self._unpack()
        _run(["bash", str(self._place.code / "baremetal.sh"), *words], given=given)

    def _unpack(self) -> None:
        part = self._place.code.with_name("code.part")
        try:
            with tarfile.open(self._place.bundle) as bundle:
                members = [member for member in bundle.getmembers() if member.name.startswith("code/")]
                for member in members:
                    member.uid = member.gid = 0
                    member.uname = member.gname = ""
                bundle.extractall(part, members)  # noqa: S202  # root's own, and part of a signed image
            (part / "code").rename(self._place.code)
            part.rmdir()
        except (OSError, tarfile.TarError) as error:
            raise EngineHostError(f"{self._place.bundle} has no code: {error}") from None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def _write(path: Path, content: str, mode: int = 0o600) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with os.fdopen(os.open(part, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, mode), "w") as file:
        file.write(content)
    part.replace(path)


def _run(argv: list[str], given: str = "", *, check: bool = True) -> None:
    surroundings = {**os.environ, "CNCP_USER": ACCOUNT, "CNCP_CHEF_INSTALL": "no", "HOME": "/root"}
    try:
        done = subprocess.run(argv, input=given, text=True, check=False, env=surroundings, stderr=subprocess.PIPE)
    except OSError as error:
        raise EngineHostError(f"{argv[0]} cannot be run: {error.strerror}") from None
    sys.stderr.write(done.stderr)
    if check and done.returncode:
        # As our commands tell what is wrong, and what to do: the last of it.
        told = [line for line in done.stderr.splitlines() if line.startswith(("error: ", "hint: "))][-2:]
        why = "; ".join(line.partition(": ")[2] for line in told)
        raise EngineHostError(why or f"{' '.join(argv[:3])} ended with status {done.returncode}")


def main() -> int:
    """Do what the first word says; return the exit code."""
    verb = "".join(sys.argv[1:])
    if verb not in (*PROGRAMS, "install"):
        print(f"error: {verb!r} is none of {', '.join(PROGRAMS)}", file=sys.stderr)
        return 2
    host = EngineHost(Place(), Path(__file__).resolve())
    try:
        if verb == "join":
            host.join(sys.stdin.read(1 << 16))
        else:
            getattr(host, verb)()
    except (EngineHostError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        if verb == "install":
            _write(Place().said, f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
