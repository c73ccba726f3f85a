"""Where the tree of an image comes from: Debian's packages, a folder, a node that runs."""

from __future__ import annotations

import contextlib
import platform
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cncp.errors import CncpError, UsageError
from cncp.netboot.mkimg import archives, exclude_lists
from cncp.process import MOUNTING, PIPE, begin, missing, run
from cncp.ssh.connection import Remote
from cncp.ssh.host_errors import HostError
from cncp.ssh.stream import running

_HOURS = 4 * 3600.0  # s that a copy or a download may take

PACKAGES = ("initramfs-tools", "zstd", "systemd-sysv", "systemd-resolved", "systemd-timesyncd", "dbus", "udev",
            "libpam-systemd", "kmod", "iproute2", "procps", "openssh-server", "ca-certificates", "python3",
            "e2fsprogs")  # fmt: skip
"""What an image of Debian's packages has beside its kernel."""

_EPOCH = "946684800"  # s since the epoch, for what would have the date of its making in it: mkinitramfs(8), passwd(1)
_APT_SETTINGS = ("Acquire::http", "Acquire::https", "Acquire::Check-", "Acquire::Retries")
_NETWORK = """\
# By DHCP, whatever the interface is called; the node's name is written when the image is put on its disk.
[Match]
Type=ether

[Network]
DHCP=yes
"""


class Source(ABC):
    """Something that a tree is made from."""

    usual = exclude_lists.USUAL
    """The list of what is left out, where no other is given."""

    @abstractmethod
    def check(self) -> None:
        """Raise CncpError where it can be seen to be of no use; nothing has been changed then."""

    @abstractmethod
    def fill(self, folder: Path, excluded: Sequence[str]) -> None:
        """Make an empty folder the tree. Raises CncpError."""


@dataclass(frozen=True)
class Folder(Source):
    """A tree that is there."""

    tree: Path
    beside: Path
    """Where images are made and kept, which is no part of one."""

    def check(self) -> None:
        """Raise UsageError where it is no folder, or an empty one."""
        if not self.tree.is_dir() or not any(self.tree.iterdir()):
            raise UsageError(f"{self.tree} is no folder with a tree", "give --tree the folder that is to be the root")

    def fill(self, folder: Path, excluded: Sequence[str]) -> None:
        """Copy it."""
        inside = self.beside.resolve()
        root = self.tree.resolve()
        own = [f"/{inside.relative_to(root)}"] if inside.is_relative_to(root) else []
        archives.copy(root, folder, [*excluded, *own])


@dataclass(frozen=True)
class Node(Source):
    """A node that runs, reached by ssh as root or as one who may become it by sudo without a password."""

    remote: Remote

    usual = exclude_lists.USUAL + "\n" + exclude_lists.OF_A_NODE

    def check(self) -> None:
        """Connect. Raises CncpError."""
        with _named(), self.remote:
            pass

    def fill(self, folder: Path, excluded: Sequence[str]) -> None:
        """Copy its root, and what of it is on other disks. Raises CncpError.

        What changes meanwhile is as it was at some moment.
        """
        name = self.remote.spec.name
        argv = ["sh", "-c", _ON_NODE, "sh", *archives.copying(excluded)]
        unpack, cut = archives.unpacking(folder), False
        with tempfile.TemporaryFile() as said:
            try:
                tar = begin(unpack, stdin=PIPE, stderr=said)
            except FileNotFoundError:
                raise missing("tar") from None
            with _named(), self.remote, tar, running(self.remote, argv, _HOURS, told=["tar", "-c", "..."]) as there:
                assert tar.stdin is not None  # noqa: S101  # a pipe
                try:
                    with tar.stdin:
                        shutil.copyfileobj(there.output, tar.stdin, 1 << 20)
                except BrokenPipeError:
                    there.end()
                    cut = True
                except BaseException:
                    tar.kill()
                    raise
            if there.status not in (0, 1) and not cut:
                raise CncpError(f"{name}: its tree could not be read: {there.last}", "log in as root, or one with sudo")
            archives.insist(unpack, tar.returncode, said)


@contextlib.contextmanager
def _named() -> Iterator[None]:
    """Have what goes wrong be told with the node's name."""
    try:
        yield
    except HostError as error:
        raise CncpError(f"{error.host}: {error.message}", error.hint) from None


_ON_NODE = """
set -eu
if [ "$(id -u)" != 0 ]; then
    sudo -n true || exit 3
    set -- sudo -n -- "$@"
fi
cd /
others=
root=$(stat -c %d /)
# Folders of the system that are on disks of their own; shared ones, and those in memory, are nobody's tree.
for place in boot boot/efi usr var var/lib opt srv usr/local; do
    [ -d "$place" ] || continue
    device=$(stat -c %d "$place")
    above=$(stat -c %d "$(dirname "$place")")
    kind=$(stat -f -c %T "$place")
    case $kind in ext*|xfs|btrfs|msdos|f2fs|zfs|jfs) ;; *) continue ;; esac
    [ "$device" = "$root" ] || [ "$device" = "$above" ] || others="$others ./$place"
done
# shellcheck disable=SC2086  # names from the list above
exec "$@" . $others
"""


@dataclass(frozen=True)
class Packages(Source):
    """Debian's packages, or those of what came from it, from where this machine gets its own."""

    suite: str = ""
    packages: tuple[str, ...] = ()
    mirror: str = ""

    def check(self) -> None:
        """Raise CncpError where no tree could be made."""
        if shutil.which("mmdebstrap") is None:
            raise missing("mmdebstrap")
        if not self._suite():
            raise UsageError("this machine is no Debian, whose suite would be taken", "say which: --suite bookworm")

    def fill(self, folder: Path, excluded: Sequence[str]) -> None:  # noqa: ARG002  # as others
        """Get and install them; what is left out of an image is not needed less for that."""
        own = any(name.startswith("linux-image-") for name in self.packages)
        names = [*PACKAGES, *self.packages, *([] if own else [_kernel()])]
        unwanted = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale")]
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as settings:
            settings.write(_apt_settings())
            settings.flush()
            words = [*MOUNTING, "mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory", *unwanted,
                     f"--aptopt={settings.name}", f"--include={','.join(names)}",
                     self._suite(), str(folder), *self._mirrors()]  # fmt: skip
            environment = {"SOURCE_DATE_EPOCH": _EPOCH, "TMPDIR": str(folder.parent)}
            run(words, env=environment, timeout=_HOURS, hint="check the suite and the packages' names, and that "
                "apt-get update works here")  # fmt: skip
        (folder / "etc/systemd/network").mkdir(parents=True, exist_ok=True)
        (folder / "etc/systemd/network/80-cncp.network").write_text(_NETWORK)
        run(["systemctl", f"--root={folder}", "enable", "systemd-networkd.service", "systemd-resolved.service"])
        (folder / "etc/apt/apt.conf.d/99mmdebstrap").unlink(missing_ok=True)
        # mmdebstrap has put this machine's own there.
        (folder / "etc/resolv.conf").unlink(missing_ok=True)
        (folder / "etc/resolv.conf").symlink_to("../run/systemd/resolve/stub-resolv.conf")

    def _suite(self) -> str:
        return self.suite or platform.freedesktop_os_release().get("VERSION_CODENAME", "")

    def _mirrors(self) -> list[str]:
        """Return lines of a sources.list: this machine's own of that suite, its updates and security among them.

        None, where it has none of that suite, has mmdebstrap take the usual ones.
        """
        if self.mirror:
            return [self.mirror]
        form = "$(ORIGIN) $(CODENAME) $(COMPONENT) $(REPO_URI)"
        listed = run(["apt-get", "indextargets", "--format", form, "Created-By: Packages"], check=False).stdout
        ours, lines = platform.freedesktop_os_release().get("ID", ""), []
        for line in dict.fromkeys(listed.splitlines()):
            origin, codename, *place = line.split()
            if origin.lower() == ours and (codename == self._suite() or codename.startswith(f"{self._suite()}-")):
                component, uri = place
                lines.append(f"deb {uri} {codename} {component}")
        return lines


def _kernel() -> str:
    """Return the package that has the usual kernel of this machine's system."""
    if platform.freedesktop_os_release().get("ID") == "ubuntu":
        return "linux-image-generic"
    return f"linux-image-{run(['dpkg', '--print-architecture']).stdout.strip()}"


def _apt_settings() -> str:
    """Return what of this machine's own apt says how a mirror is reached."""
    dumped = run(["apt-config", "dump", "--format", '%F "%v";%n'], check=False).stdout
    chosen = [line for line in dumped.splitlines() if line.startswith(_APT_SETTINGS)]
    return "\n".join([*chosen, 'Acquire::Languages "none";', ""])
