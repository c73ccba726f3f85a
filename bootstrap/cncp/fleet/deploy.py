"""The main job on one host: the code goes there, and its own baremetal.sh does the rest."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

from cncp.config.parsers import Value
from cncp.config.settings import BY_KEY
from cncp.config.sources import SOURCE
from cncp.errors import USAGE, told
from cncp.files import PARENTS, to_json
from cncp.fleet.model import HOME, SHARED, Surveyed
from cncp.fleet.registry import Placed
from cncp.install import source_code
from cncp.machine.ops import busy_engines
from cncp.machine.ops.apply import MachineReport
from cncp.ssh import answers
from cncp.ssh.command import Line
from cncp.ssh.connection import Host
from cncp.ssh.host_errors import HostError
from cncp.ssh.rpc import RECEIVE, SHARE, call

T = TypeVar("T")

INSTALL_TIMEOUT = 900.0
"""Seconds for an installation: 50 MB over a slow network, on a slow disk."""


@dataclass(frozen=True)
class Code:
    """Our own code as an archive, and its digest."""

    archive: bytes
    digest: str


@cache
def code() -> Code:
    """Pack what provisioning needs of this code, once; the same files make the same bytes."""
    packed = io.BytesIO()
    source_code.pack(packed, ((name, content, mode) for name, (content, mode) in sorted(source_code.code(SOURCE))))
    digest = hashlib.sha256(packed.getvalue()).hexdigest()
    return Code(gzip.compress(packed.getvalue(), 6, mtime=0), digest)


def outdated(surveyed: Surveyed, ours: Code) -> bool:
    """Tell whether a host lacks this code, or a virtualenv that is whole."""
    return bool(surveyed.facts.code[_home(surveyed)] != ours.digest)


def _home(surveyed: Surveyed) -> str:
    return SHARED if surveyed.shared else HOME


def send(surveyed: Surveyed, ours: Code) -> bool:
    """Bring the code to a host, unless it has it; return whether it was brought."""
    if not outdated(surveyed, ours):
        return False
    call(surveyed.host, RECEIVE, _home(surveyed), ours.digest, PARENTS, stdin=ours.archive, timeout=120)
    return True


def install(surveyed: Surveyed, settings: Mapping[str, Value], say: Line, wheels: bytes | None) -> None:
    """Bring the virtualenv to what is wanted; hosts that share it are served by one of them.

    ``wheels`` is a bundle for a host that reaches no index.
    """
    words = flags({key: value for key, value in settings.items() if key == "requirements"})
    path = f"{surveyed.root}/offline.tar"
    if wheels is not None:
        say("sending the bundle")
        surveyed.host.put(wheels, path)
        words.append(f"--offline={path}")
    _baremetal(surveyed, ["--install-only", *words], {"CNCP_HOME": surveyed.root, **busy_engines.handed_on()}, say)
    if wheels is not None:
        surveyed.host.run(["rm", "-f", "--", path])


def brought(host: Host, settings: Mapping[str, Value], root: str) -> dict[str, Value]:
    """Bring the files that settings name, and what they keep secret, to a host; return settings that name it there."""
    there = named_there(settings, root)
    if there != settings:
        host.put(Path(str(settings["requirements"])).read_bytes(), str(there["requirements"]))
    return variables(host, there, root)


def variables(host: Host, settings: Mapping[str, Value], root: str) -> dict[str, Value]:
    """Bring the variables of engines to a host; return settings that name them there.

    They can be secret, and a host's command lines are seen by all who are on it.
    """
    setting = settings.get("environment", "none")
    if setting == "none":
        return dict(settings)
    path = f"{root}/environment.of-cluster"
    host.put(f"{setting}\n".encode(), path)
    return {**settings, "environment": f"@{path}"}


def named_there(settings: Mapping[str, Value], root: str) -> dict[str, Value]:
    """Return settings with the requirements file as it is on a host whose ``root`` this is."""
    named = str(settings.get("requirements", "none"))
    ours = named != "none" and "://" not in named
    return {**settings, **({"requirements": f"{root}/requirements.of-cluster.txt"} if ours else {})}


def up(surveyed: Surveyed, settings: Mapping[str, Value], say: Line, ours: Code) -> MachineReport:
    """Run the main job on a host and return its report. Raises HostError with that host's own words."""
    if surveyed.shared:
        call(surveyed.host, SHARE, SHARED, surveyed.name)
    # What is to become of busy engines is asked for here, and seen to there.
    busy = busy_engines.handed_on()
    words = flags(settings)
    if outdated(surveyed, ours) or surveyed.facts.made_with[_home(surveyed)] != surveyed.facts.real_python:
        said = _baremetal(surveyed, ["--json", "--forget", *words], {**surveyed.environment, **busy}, say)
        return answers.read(surveyed.name, answers.of_object(said), MachineReport)
    # What baremetal.sh would check and make is there, and costs a host half of its time.
    variables = ["env", *(f"{name}={value}" for name, value in busy.items())] if busy else []
    said = _said(surveyed, [*variables, *Placed.of(surveyed).remote("up", *words)], say)
    return answers.read_remote(surveyed.name, said, MachineReport)


def flags(settings: Mapping[str, Value]) -> list[str]:
    """Return settings as options of a command line."""
    words = {True: "true", False: "false"}
    return [
        f"{BY_KEY[key].flag}={words[value] if isinstance(value, bool) else value}" for key, value in settings.items()
    ]


def _baremetal(surveyed: Surveyed, words: Sequence[str], variables: Mapping[str, str], say: Line) -> bytes:
    argv = [
        *("env", "CNCP_HERE=true", *(f"{name}={value}" for name, value in variables.items())),
        *("bash", f"{surveyed.root}/code/baremetal.sh", f"--python={surveyed.facts.python}", *words),
    ]
    return _said(surveyed, argv, say)


def _said(surveyed: Surveyed, argv: Sequence[str], say: Line) -> bytes:
    limit = INSTALL_TIMEOUT + busy_engines.said(os.environ).wait
    result = surveyed.host.run(argv, timeout=limit, check=False, line=partial(_progress, say))
    if not result.ok:
        raise failure(surveyed.name, result.stderr, result.status)
    return result.output


def _progress(say: Line, line: str) -> None:
    """Hand on the phases of a host; its errors are told with those of the other hosts."""
    if line.startswith("==> "):
        say(line.removeprefix("==> "))


def ask(placed: Placed, host: Host, kind: type[T], *words: str, given: object = None, timeout: float = 60) -> T:
    """Have a verb of `cncp.remote` answer on a host; ``given`` is what it reads, as JSON. Raises HostError."""
    read = b"" if given is None else to_json(given)
    result = host.run(placed.remote(*words), input=read, timeout=timeout, check=False)
    if not result.ok:
        raise failure(placed.name, result.stderr, result.status)
    return answers.read_remote(placed.name, result.output, kind)


def failure(name: str, stderr: str, status: int) -> HostError:
    """Return a host's error and hint as ours, from what its cncp wrote and exited with."""
    if "No module named cncp.remote" in stderr:
        return answers.of_another_version(name)
    message, hint = told(stderr)
    last = next(reversed(stderr.strip().splitlines()), f"its cncp exited with {status}")
    error = HostError(name, message or last, hint or f"log in and look: ssh {name}")
    if status == USAGE:
        error.exit_code = USAGE
    return error
