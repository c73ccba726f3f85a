"""Base trees: a Debian small enough to build in seconds, kept for the next run.

A host's disk is an overlay on such a tree, so the tree is built once for a suite
and a list of packages, and is never written to again.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cncp.process import MOUNTING

from .command import LabError, run

#: What every host has. No python3-venv and no polkitd: what cncp must cope
#: without is asked for by name in the tests that need it.
PACKAGES = (
    "ca-certificates",
    "dbus",
    "git",
    "iproute2",
    "libpam-systemd",
    "openssh-server",
    "procps",
    "python3",
    "screen",
    "sudo",
    "systemd",
    "systemd-sysv",
    "tmux",
)

# Timers that would start work of their own in the middle of a test.
QUIET = ("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer")

# Raise it when the recipe below changes, so that older trees are not used.
RECIPE = 1

# Settings of the machine's own apt that decide whether a mirror can be reached.
_APT_SETTINGS = ("Acquire::http", "Acquire::https", "Acquire::Check-", "Acquire::Retries")


def cache_dir() -> Path:
    """Where trees are kept: ``CNCP_LAB_CACHE``, or ``~/.cache/cncp-lab``.

    The home is the account's and not HOME, which tests point at an empty folder.
    """
    given = os.environ.get("CNCP_LAB_CACHE")
    return Path(given or Path(pwd.getpwuid(os.getuid()).pw_dir, ".cache", "cncp-lab"))


def base_tree(suite: str, extra: tuple[str, ...] = ()) -> Path:
    """Give the tree of a Debian suite with the lab's packages and ``extra`` ones.

    Takes about 25 s the first time and nothing after that. Two callers at once
    build it once: the second waits. A build that fails or is killed leaves
    nothing that a later one would take for a tree.
    """
    packages = sorted({*PACKAGES, *extra})
    text = "\n".join([str(RECIPE), platform.machine(), suite, *packages])
    tree = cache_dir() / f"{suite}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    if tree.is_dir():
        return tree
    tree.parent.mkdir(parents=True, exist_ok=True)
    with locked(tree.parent / f"{tree.name}.lock"):
        if not tree.is_dir():
            part = tree.parent / f"{tree.name}.part"
            _remove_tree(part)  # of a build that was killed; we hold the lock
            try:
                _build(suite, packages, part)
                part.rename(tree)
            except BaseException:
                _remove_tree(part)
                raise
    return tree


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file ``path``; it is free again when the process ends, however."""
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def host_mirror() -> str | None:
    """Find the Debian mirror this machine's own apt uses; None when it has none."""
    release = platform.freedesktop_os_release()
    if release.get("ID") != "debian":
        return None
    listed = run(
        ["apt-get", "indextargets", "--format", "$(CODENAME) $(COMPONENT) $(REPO_URI)",
         "Created-By: Packages"],
        check=False,
    )  # fmt: skip
    for line in listed.stdout.splitlines():
        codename, component, uri = line.split(maxsplit=2)
        if (codename, component) == (release.get("VERSION_CODENAME"), "main"):
            return uri
    return None


def _host_apt_settings() -> str:
    """Give the lines of the machine's apt configuration that reaching the mirror needs."""
    dumped = run(["apt-config", "dump", "--format", '%F "%v";%n'], check=False).stdout
    chosen = [line for line in dumped.splitlines() if line.startswith(_APT_SETTINGS)]
    return "\n".join([*chosen, 'Acquire::Languages "none";', ""])


def _build(suite: str, packages: list[str], tree: Path) -> None:
    """Build a tree in ``tree`` and make it ready to be the lower layer of hosts."""
    mirror = os.environ.get("CNCP_LAB_MIRROR") or host_mirror()
    with tempfile.NamedTemporaryFile("w", prefix="cncp-lab-apt-", suffix=".conf") as settings:
        settings.write(_host_apt_settings())
        settings.flush()
        excluded = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale")]
        try:
            run(
                [*MOUNTING, "mmdebstrap", "--mode=root", "--variant=minbase", f"--aptopt={settings.name}",
                 *excluded, f"--include={','.join(packages)}", suite, tree,
                 *([mirror] if mirror else [])],
                timeout=1200,
            )  # fmt: skip
        except LabError as error:
            raise LabError(
                f"the base tree of {suite} could not be built: {error.message}",
                "check the suite's and the packages' names, and that apt-get update works here",
            ) from error
    _prepare(tree)


def _prepare(tree: Path) -> None:
    """Take out what must differ from host to host, and switch on networkd."""
    for key in (tree / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    for leftover in ("etc/apt/apt.conf.d/99mmdebstrap", "etc/resolv.conf"):
        (tree / leftover).unlink(missing_ok=True)
    # No name server can be reached; an empty file makes look-ups fail at once.
    (tree / "etc/resolv.conf").touch()
    (tree / "etc/machine-id").write_text("")
    # --root edits the links only, so the tree's own systemctl need not run.
    run(["systemctl", f"--root={tree}", "enable", "systemd-networkd.service"])
    run(["systemctl", f"--root={tree}", "mask", *QUIET])
    for folder in ("var/cache/apt", "var/lib/apt/lists", "var/cache/debconf"):
        shutil.rmtree(tree / folder, ignore_errors=True)
        (tree / folder).mkdir(parents=True, exist_ok=True)


def _remove_tree(tree: Path) -> None:
    """Remove a tree that was never finished."""
    if tree.exists():
        run(["rm", "-rf", "--one-file-system", tree], timeout=120)
