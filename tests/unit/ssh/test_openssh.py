"""What of ~/.ssh/config counts for programs: where and how one gets in; nothing that is meant for a session."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import cncp
from cncp.config.inventory import HostSpec
from cncp.errors import CncpError
from cncp.machine import tunnels
from cncp.process import PACKAGES, CommandError, run
from cncp.ssh import forward, openssh
from cncp.ssh.client_tunnel import Tunnel
from cncp.ssh.connection import Remote
from tests.unit.source import nodes

OF_A_PERSON = """
Host *
  RemoteCommand tmux new -A -s main
  RequestTTY force
  SessionType none
  StdinNull yes
  ForkAfterAuthentication yes
  PermitLocalCommand yes
  LocalCommand touch /nowhere
  ForwardAgent yes
  ForwardX11 yes
  Tunnel yes
  LogLevel QUIET
"""

SPEC = HostSpec("gold1", jump="gate1,gate2")
SERVED = tunnels.Tunnel("gold1", "gold1", ("ssh-ed25519 AAAA",), (1,), "127.0.0.1", reverse=True)


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Have a stand-in for ssh note what it is called with; return where, a JSON list a line."""
    ssh, log = tmp_path / "bin" / "ssh", tmp_path / "said"
    ssh.parent.mkdir()
    note = f"import json, sys; open({str(log)!r}, 'a').write(json.dumps(sys.argv[1:]) + '\\n')"
    ssh.write_text(f"#!{sys.executable} -IS\n{note}\n")
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ssh.parent}{os.pathsep}{os.environ['PATH']}")
    openssh._known.cache_clear()
    yield log
    openssh._known.cache_clear()


def calls(log: Path) -> list[list[str]]:
    """Return what ssh was called with, but for being asked what it knows."""
    found: list[list[str]] = [json.loads(line) for line in log.read_text().splitlines()]
    return [words for words in found if "-G" not in words]


def test_every_ssh_of_ours_keeps_a_person_s_settings_out(said: Path, tmp_path: Path) -> None:
    """Logins, commands, questions to a connection, tunnels of clients and services, and their jump hosts."""
    with Remote(SPEC) as remote:
        way = remote.way(["true"])
        assert remote.alive()
    tunnel = Tunnel(Remote(SPEC), [])
    with pytest.raises(CncpError):
        tunnel.open()
    carriers = [forward.command(SPEC, tmp_path), tunnels.command(tmp_path, SERVED, "s"), calls(said)[-1]]
    assert all({"ClearAllForwardings=yes", "-M"} <= set(words) for words in carriers)
    ways = [*calls(said), list(way.words), *carriers]
    assert len(ways) == 7
    for words in ways:
        wanted = {"RemoteCommand=none", "RequestTTY=no", "PermitLocalCommand=no", "StdinNull=no", "ForwardAgent=no"}
        assert wanted <= set(words), words
        # The first connection is told to go into the background itself, with -f.
        assert ("ForkAfterAuthentication=no" in words) == ("-f" not in words)
        for jump in (word for word in words if word.startswith("ProxyCommand=")):
            assert all(jump.count(setting) == 2 for setting in wanted)
    assert "SessionType=default" in way.words


def test_only_settings_that_ssh_knows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An older one is given none that it would refuse; the user's IgnoreUnknown stays in force."""
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/sh\ncase "$*" in *SessionType*|*ChannelTimeout*|*Fork*|*StdinNull*) exit 255 ;; esac\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    openssh._known.cache_clear()
    found = openssh.settings(session=True)
    openssh._known.cache_clear()
    assert "RemoteCommand=none" in found
    assert not any(setting.startswith(("SessionType", "StdinNull", "IgnoreUnknown")) for setting in found)


def test_they_win_over_a_real_configuration(tmp_path: Path) -> None:
    """As OpenSSH itself reads both."""
    openssh._known.cache_clear()
    config = tmp_path / "config"
    config.write_text(OF_A_PERSON)
    ours = openssh.words([*openssh.settings(session=True), "LogLevel=INFO"])
    shown = run(["ssh", "-F", config, "-G", *ours, "--", "gold1"]).stdout.splitlines()
    wanted = ["sessiontype default", "stdinnull no", "requesttty false", "permitlocalcommand no", "tunnel false"]
    assert {*wanted, "forkafterauthentication no", "forwardagent no", "loglevel INFO"} <= set(shown)
    assert not any("tmux" in line for line in shown)


def test_no_forward_of_a_person_s_is_asked_for(tmp_path: Path) -> None:
    """One that is in use would end ours, and one that is free would be held: as OpenSSH itself reads both."""
    openssh._known.cache_clear()
    config = tmp_path / "config"
    config.write_text("Host *\n  LocalForward 1 a:1\n  RemoteForward 2 b:2\n  DynamicForward 3\n  ControlPersist yes\n")
    for _, *words in (forward.command(SPEC, tmp_path / "s"), tunnels.command(tmp_path, SERVED, "s")):
        shown = run(["ssh", "-F", config, "-G", *words]).stdout.splitlines()
        assert {"clearallforwardings yes", "controlmaster true", "controlpersist no"} <= set(shown)
        assert not {line.partition(" ")[0] for line in shown} & {"localforward", "remoteforward", "dynamicforward"}


def test_forwards_are_asked_for_without_a_configuration(said: Path, tmp_path: Path) -> None:
    """Its own would be asked for beside ours."""
    assert openssh.carry(tmp_path / "s", "gold1", tunnels.forwards(SERVED)).ok
    assert calls(said) == [
        [
            *("-F", os.devnull, "-S", str(tmp_path / "s"), "-O", "forward"),
            *("-R", "127.0.0.1:1:127.0.0.1:1", "--", "gold1"),
        ]
    ]


def test_our_key_comes_beside_the_user_s_own(home: Path, tmp_path: Path) -> None:
    """The configuration's keys first; without any, the default files there are; ours last."""
    ours = home / ".ssh" / "cncp_ed25519"
    config = tmp_path / "config"
    config.write_text('Host named\n  IdentityFile ~/"a key"\n  IdentityFile /nowhere\n  IdentityFile ~/%h\n')
    way = ["-F", str(config)]
    assert openssh.identities(way, "gold1", ours) == []
    ours.parent.mkdir()
    for path in (ours, ours.with_name("id_ed25519"), ours.with_name("id_rsa"), home / "a key"):
        path.touch()
    last = f'IdentityFile="{ours}"'
    assert openssh.identities(way, "gold1", ours) == [
        'IdentityFile="~/.ssh/id_rsa"',
        'IdentityFile="~/.ssh/id_ed25519"',
        last,
    ]
    assert openssh.identities(way, "named", ours) == ['IdentityFile="~/a key"', 'IdentityFile="~/%h"', last]
    shown = run(["ssh", *way, "-G", *openssh.words(openssh.identities(way, "gold1", ours)), "x"]).stdout
    assert f"identityfile {ours}\n" in shown


def test_a_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of Debian and of Fedora; what is in no table is told where to look for."""
    monkeypatch.setenv("PATH", "/nowhere")
    for name, packages in PACKAGES.items():
        with pytest.raises(CommandError, match=f"there is no {name} on this machine") as caught:
            run([name])
        assert all(package in caught.value.hint for package in packages)
    with pytest.raises(CommandError, match="there is no nosuch on this machine") as caught:
        run(["nosuch"])
    assert "PATH" in caught.value.hint
    with pytest.raises(CommandError, match="No such file"):
        run([sys.executable, "-V"], cwd="/nowhere")


def test_every_program_that_is_started_by_name_is_in_the_table() -> None:
    """But for those that every system has (POSIX), whose absence nobody could mend with a package."""
    import ast

    posix = {*"cat chmod chown cp env install kill ln mkdir mv rm rmdir sh sync tail".split()}  # noqa: SIM905
    # Our own programs, and those of desktops and services that are asked for first.
    own = {"cncp", "pkcheck"}
    folder = Path(cncp.__file__).parent
    found = set()
    for path in folder.rglob("*.py"):
        for node in nodes(path):
            if not (isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.List)):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            first = node.args[0].elts[0] if node.args[0].elts else None
            if name in ("run", "begin", "become") and isinstance(first, ast.Constant):
                found.add(str(first.value))
    assert found >= {"ssh", "crontab", "systemctl"}
    assert found - posix - own <= set(PACKAGES)
