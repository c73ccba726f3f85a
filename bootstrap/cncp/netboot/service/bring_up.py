"""The server brought up, looked at and taken down: `netboot.up`, `netboot.status`, `netboot.down`.

First all is checked, then changed; what cannot be seen to work is an error. A second run changes nothing.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cncp.config.sources import SOURCE
from cncp.console import Console
from cncp.errors import CncpError
from cncp.files import lock, read_bytes, to_json, write_atomic
from cncp.install import environment, source_code
from cncp.machine.actor import Actor
from cncp.machine.converge import embedded
from cncp.machine.desired import service_home
from cncp.machine.services import ServiceManager, manager_files
from cncp.machine.services.base import sweep
from cncp.netboot.cidcapt import Access, CiddClient, RefusedError
from cncp.netboot.cidd import Place, Settings
from cncp.netboot.service import blancmange_stage, dhcp_probe, dnsmasq_conf, server_checks
from cncp.netboot.service.cidcapt_command import install_command, remove_command
from cncp.netboot.service.dhcp_probe import Offer
from cncp.netboot.service.server_node import SERVICES, digests, server_node
from cncp.netboot.service.server_paths import ACCOUNT, Paths
from cncp.netboot.service.server_settings import SETTINGS, Network, ServerSettings, gathered, interfaces, network
from cncp.netboot.service.server_status import log_command, manager_of
from cncp.process import run
from cncp.waiting import wait_until

_PATIENCE = 60.0  # s that a service has to answer
_DHCP = (67, 69)  # ports of DHCP and TFTP
_PYTHON = "/usr/bin/python3"
_SBIN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


@dataclass(frozen=True)
class Plan:
    """What was asked for, found to be possible."""

    settings: ServerSettings
    network: Network
    python: str
    dnsmasq: str

    def cidd(self, folder: Path) -> Settings:
        """Return what cidd is told."""
        settings = self.settings
        return Settings(str(folder), self.network.address, settings.port, settings.plain_port, settings.at_once)


def plan(paths: Paths, given: Mapping[str, object], console: Console) -> Plan:
    """Hold what is asked for against this machine and its network. Changes nothing. Raises CncpError."""
    server_checks.insist_on_root("netboot.up")
    settings = gathered(SETTINGS.load(paths.etc), given)
    found = network(settings, interfaces())
    server_checks.insist_on_owner(settings.owner)
    server_checks.insist_on_packages(paths.root)
    python = server_checks.python((sys.executable, _PYTHON))
    ours = _ours(paths, found)
    server_checks.insist_on_ports(settings, found, ours)
    words = dnsmasq_conf.render(found, settings.plain_port, paths.leases, paths.own_lines, paths.boot_programs)
    with tempfile.TemporaryDirectory(prefix="cncp-") as scratch:
        server_checks.insist_on_words(words, Path(scratch), paths.own_lines)
    if not ours.issuperset(_DHCP) or read_bytes(paths.dnsmasq_settings) != words.encode():
        console.phase(f"looking for other servers on {found.interface}")
        server_checks.insist_on_peace(_offers(found.interface), settings, found)
    return Plan(settings, found, python, words)


def _offers(interface: str) -> set[Offer]:
    try:
        return dhcp_probe.offers(interface)
    except OSError as error:
        raise CncpError(
            f"nothing can be sent on {interface}: {error.strerror}", f"ip link set {interface} up"
        ) from None


def _ours(paths: Paths, found: Network) -> set[int]:
    """Return the ports that the services have which run already, of what they were told."""
    node = server_node(paths)
    if not node.run_dir.is_dir():
        return set()
    running = {name for name, state in manager_of(node).states().items() if state.running}
    ports = set[int]()
    if "cidd" in running:
        told = Settings.from_json(paths.cidd_settings.read_bytes(), str(paths.cidd_settings))
        ports |= {told.port, told.plain_port} if told.address == found.address else set()
    return ports | (set(_DHCP) if "dnsmasq" in running else set())


@contextlib.contextmanager
def _alone(paths: Paths, verb: str) -> Iterator[None]:
    """Keep other runs away. All that is made is for others to run, and for root alone to write."""
    before = os.umask(0o022)
    try:
        paths.home.mkdir(mode=0o755, parents=True, exist_ok=True)
        with lock(paths.home / "lock", f"cncp {verb}"):
            yield
    finally:
        os.umask(before)


def up(paths: Paths, wanted: Plan, console: Console, *, build: bool) -> list[str]:
    """Make it so, and return what was started or built, once all answers. Raises CncpError.

    The services are begun first: nodes that need nothing else are served while Blancmange is built.
    """
    node = server_node(paths)
    actor = Actor(node.account)
    with _alone(paths, "netboot.up"):
        install(paths, wanted.python, console)
        account = _account()
        told = wanted.cidd(paths.folder)
        access = keep(Place(paths.folder), told, account)
        _write(paths.cidd_settings, to_json(told.to_json()), 0o644)
        _write(paths.dnsmasq_settings, wanted.dnsmasq.encode(), 0o644)
        install_command(paths, access, wanted.settings.owner)
        SETTINGS.save(paths.etc, wanted.settings)
        services = digests(paths)
        embedded.apply(embedded.changes([*service_home(node), *manager_files(node, services)]), actor)
        manager = manager_of(node)
        states = manager.states()
        anew = {
            name: digest
            for name, digest in services.items()
            if name not in states or not states[name].running or states[name].digest != digest
        }
        manager.reload()
        if anew:
            console.phase(f"starting {', '.join(anew)}")
            manager.start(anew)
        if warning := manager.persist():
            console.warn(warning)
        await_answers(manager, access)
        plain = f"http://{wanted.network.address}:{wanted.settings.plain_port}"
        built = build and blancmange_stage.bring(paths, access, plain, console)
    return [*anew, *(["Blancmange"] if built else [])]


def install(paths: Paths, python: str, console: Console) -> None:
    """Have virtualenv and code there, for root alone to write and for all to run."""
    code = source_code.read(SOURCE, paths.home)
    environment.ensure(
        paths.home,
        python,
        os.environ,
        requirements="none",
        jupyter=False,
        engines_alone=True,
        offline=None,
        say=console.phase,
        keep=code,
    )
    source_code.kept(paths.home).chmod(0o755)


def _account() -> pwd.struct_passwd:
    """Return the account that cidd is, made where there is none."""
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(ACCOUNT)
    words = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
    run(["useradd", *words, "--shell", "/usr/sbin/nologin", ACCOUNT], env=_SBIN)
    return pwd.getpwnam(ACCOUNT)


def keep(place: Place, told: Settings, account: pwd.struct_passwd) -> Access:
    """Make the folder that cidd keeps all in; return how it is reached.

    In it cidd may add files of its own, and change no other. What root reads there as well is root's, so that cidd can
    put nothing in its place; what signs images, and the images, it cannot even write.
    """
    place.folder.mkdir(mode=0o700, exist_ok=True)
    place.public_key()
    access = place.reach(told)
    for folder in (place.blancmange, place.folder / "store"):
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
    for name, mode in (("token", 0o640), ("server.pem", 0o640), ("server.lock", 0o660)):
        os.chown(place.folder / name, 0, account.pw_gid, follow_symlinks=False)
        (place.folder / name).chmod(mode)
    os.chown(place.folder, 0, account.pw_gid)
    place.folder.chmod(0o1770)
    return access


def _write(path: Path, content: bytes, mode: int) -> None:
    if read_bytes(path) != content:
        write_atomic(path, content, mode)


def await_answers(manager: ServiceManager, access: Access) -> None:
    """Wait until cidd answers and dnsmasq runs. Raises CncpError with where its log is."""
    client = CiddClient(access)

    def answers() -> bool:
        with contextlib.suppress(RefusedError):
            client.images()
            return True
        return False

    def runs() -> bool:
        state = manager.states().get("dnsmasq")
        return state is not None and state.running

    for name, look in (("cidd", answers), ("dnsmasq", runs)):
        if not wait_until(look, _PATIENCE, 0.2):
            raise CncpError(f"{name} does not answer", f"its log: {log_command(manager, name)}")


def down(paths: Paths, console: Console, *, remove: bool) -> list[str]:
    """Stop the services, over reboots too, and take away what keeps them; return those that ran.

    Nodes, images, keys and settings stay, unless they are to be removed as well.
    """
    server_checks.insist_on_root("netboot.down")
    if not paths.home.is_dir():
        return []
    node = server_node(paths)
    manager = manager_of(node)
    with _alone(paths, "netboot.down"):
        ran = [name for name, state in manager.states().items() if state.running]
        if ran:
            console.phase(f"stopping {', '.join(ran)}")
        manager.stop(ran)
        sweep(node, SERVICES)
        manager.forget()
        manager.clean_up()
        remove_command(paths)
        shutil.rmtree(node.run_dir, ignore_errors=True)
    if remove:
        for path in (paths.home, paths.folder, paths.packages):
            shutil.rmtree(path, ignore_errors=True)
        for path in (paths.access, SETTINGS.path(paths.etc)):
            path.unlink(missing_ok=True)
        for folder in (paths.packages.parent, paths.state, paths.own_lines, paths.etc):
            with contextlib.suppress(OSError):
                folder.rmdir()
        run(["userdel", ACCOUNT], check=False, env=_SBIN)
    return ran
