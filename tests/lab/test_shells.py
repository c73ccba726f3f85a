"""Accounts of all kinds of shells, with login files that print at every start, over real ssh."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from .fleets import ASK, differences
from .host import Host
from .site import Site
from .sites import MakeSite

SHELLS = {
    "tcsh": ".cshrc",
    "fish": ".config/fish/config.fish",
    "zsh": ".zshenv",
    "bash": ".bashrc",
}
"""Login shells, and the file that each of them reads even where it is given a command."""

ALL = ",".join(SHELLS)
ACCOUNTS = (*SHELLS, "nologin", "both")
TAKEN = 18900  # a port of the controller's machine that somebody listens at

# What people have for their own sessions; the first host has the most of it.
CONFIG = f"""\
Host tcsh
  RemoteCommand tmux new -A -s main
  RequestTTY force
  LocalForward {TAKEN} localhost:22
Host *
  HostName shell1
""" + "".join(f"Host {name}\n  User of-{name}\n" for name in ACCOUNTS)

FILE = """
[[pool]]
hosts = ["tcsh"]
engines = 1
connect = "reverse"
"""

ODD = 'wow! !! it\'s "so"\n\\n $HOME `id` *\tñandú %d'


@pytest.fixture(scope="module")
def far(make_host: Callable[..., Host]) -> Host:
    """Make a host with an account for each shell, one without a shell, and one of which a password is asked besides."""
    users = [f"of-{name}" for name in ACCOUNTS]
    return make_host("shell1", "bookworm", ("cron", "python3-venv", "tcsh", "fish", "zsh"), users=users)


@pytest.fixture(scope="module")
def desk(far: Host, make_host: Callable[..., Host], make_site: MakeSite) -> Site:
    """Make the controller's machine: bob has an ordinary key and no agent, and all accounts let that key in."""
    near = make_host("shell0", "bookworm", ("cron", "python3-venv", "tcsh", "fish", "zsh"), users=("bob",))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(Host.boot, (near, far)))
    site = make_site(near, "bob")
    far.write("/etc/pip.conf", near.read("/etc/pip.conf"))
    near.exec(["sh", "-c", "cat >> /etc/hosts"], input=f"{far.address} shell1\n")
    near.exec(["systemd-run", "--unit=taken", f"--socket-property=ListenStream=127.0.0.1:{TAKEN}", "true"])
    near.write(f"{site.home}/.ssh/config", CONFIG)
    near.exec(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{site.home}/.ssh/id_ed25519"])
    near.write(f"{site.home}/cluster.toml", FILE)
    near.exec(["chown", "-R", "bob:", site.home])
    public = near.read(f"{site.home}/.ssh/id_ed25519.pub")
    for user in far.users:
        home, shell = f"/home/{user}", user.removeprefix("of-")
        far.write(f"{home}/.ssh/authorized_keys", public, mode=0o600)
        if shell in SHELLS:
            far.write(f"{home}/{SHELLS[shell]}", f"echo 'hello from {shell} {{'\n")
            far.exec(["usermod", "--shell", f"/bin/{shell}" if shell != "fish" else "/usr/bin/fish", user])
        far.exec(["chown", "-R", f"{user}:", home])
    far.exec(["usermod", "--shell", "/usr/sbin/nologin", "of-nologin"])
    both = "Match User of-both\nAuthenticationMethods publickey,password\n"
    far.write("/etc/ssh/sshd_config.d/zz-both.conf", both)
    far.exec(["systemctl", "reload", "ssh"])
    return site


@pytest.fixture(scope="module")
def before(desk: Site, far: Host) -> dict[str, dict[str, str]]:
    """Remember what is on both machines."""
    return trees(desk, far)


def trees(desk: Site, far: Host) -> dict[str, dict[str, str]]:
    """Return what is on both machines, but for what ssh itself learns and the user's new keys."""
    near = {path: content for path, content in desk.tree().items() if ".ssh" not in path}
    return {"shell0": near, "shell1": Site(far, "of-tcsh").tree()}


def test_a_cluster_with_an_engine_in_a_tcsh_account(desk: Site, before: dict[str, dict[str, str]]) -> None:
    """From nothing to an engine that answers; a second run has nothing to do."""
    assert before
    assert "1/1 engines answer" in desk.baremetal().stdout
    assert json.loads(desk.python(ASK, "cncp").stdout) == ["shell1"]
    assert "nothing to change" in desk.cncp("up").stdout


def test_arguments_arrive_and_noise_does_not(desk: Site) -> None:
    """In every shell a word is that word; what login files print is no part of what a command says."""
    shown = json.loads(desk.cncp("hosts.run", "--hosts", ALL, "--json", "--", "printf", r"%s\n", ODD).stdout)
    assert {name: answer["stdout"] for name, answer in shown["hosts"].items()} == dict.fromkeys(SHELLS, ODD.split("\n"))
    said = desk.cncp("hosts.run", "--hosts", ALL, "--", "sh", "-c", 'echo "$0"\nid -un', "x y").stdout
    assert sorted(said.splitlines()) == sorted(f"[{name}] {text}" for name in SHELLS for text in ("x y", f"of-{name}"))


def test_a_folder_there_and_back(desk: Site) -> None:
    """It is what it was, whatever is printed where it arrives and where it comes from."""
    make = 'mkdir -p "$1/empty" && printf \'a\\0b!\\n\' > "$1/ñ \' \\" !" && ln -s nowhere "$1/link"'
    desk.host.run(["sh", "-c", make, "sh", "a folder!"], "bob")
    desk.cncp("hosts.put", "--hosts", ALL, "a folder!", "to/it's here!")
    desk.cncp("hosts.get", "--hosts", ALL, "to/it's here!", "got")
    for name in SHELLS:
        desk.host.run(["diff", "-r", "--no-dereference", "a folder!", f"got/{name}/it's here!"], "bob")
    desk.host.run(["rm", "-r", "a folder!", "got"], "bob")
    desk.cncp("hosts.run", "--hosts", ALL, "--", "rm", "-r", "to")


def test_facts_of_all(desk: Site) -> None:
    """Every account is a machine with a Python."""
    found = json.loads(desk.cncp("hosts.facts", "--hosts", ALL, "--json").stdout)
    assert sorted(found) == sorted(SHELLS)
    assert all(host["pythons"] for host in found.values())


def test_a_key_of_ours_comes_beside_the_user_s(desk: Site) -> None:
    """Hosts that know only the ordinary one let us in as before."""
    desk.cncp("keys.generate", "--no-passphrase")
    desk.cncp("hosts.run", "--hosts", ALL, "--", "true")
    assert "[fish] added" in desk.cncp("keys.authorize", "--hosts", "fish").stdout


def test_what_a_host_says_that_lets_nobody_in(desk: Site) -> None:
    """An account without a shell says so itself; one that asks for more than a key is no matter of keys."""
    done = desk.cncp("hosts.run", "--hosts", "nologin,both", "--", "true", check=False)
    assert done.returncode == 3
    failed = dict(line.split(" failed: ") for line in done.stderr.splitlines() if " failed: " in line)
    assert "This account is currently not available" in failed["[nologin]"]
    assert failed["[both]"].startswith("it takes our key, and asks for more besides")


def test_nothing_is_left(desk: Site, far: Host, before: dict[str, dict[str, str]]) -> None:
    """An uninstall takes all of it away in the tcsh account, too."""
    desk.cncp("uninstall")
    assert differences(before, trees(desk, far)) == []
