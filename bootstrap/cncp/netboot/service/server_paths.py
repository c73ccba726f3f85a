"""Where the netboot server has its files. What an account without rights writes is apart from what root runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ACCOUNT = "cncp-netboot"
"""Who cidd and dnsmasq are once they run: an account for nothing else."""


@dataclass(frozen=True)
class Paths:
    """Files below ``root``, which is / but for tests."""

    root: Path = Path("/")

    @property
    def state(self) -> Path:
        """All that there is of the server, but for its settings."""
        return self.root / "var/lib/cncp"

    @property
    def home(self) -> Path:
        """What root runs, and nobody else can write: virtualenv, code, configurations."""
        return self.state / "server"

    @property
    def folder(self) -> Path:
        """What cidd keeps (``cidd.Place``): nodes, images, keys."""
        return self.state / "netboot"

    @property
    def packages(self) -> Path:
        """Debian's packages that Blancmange was made of: what can be had again."""
        return self.state / "cache" / "blancmange"

    @property
    def has_systemd(self) -> bool:
        """Whether systemd runs this machine."""
        return (self.root / "run/systemd/system").is_dir()

    @property
    def cidd_settings(self) -> Path:
        """What cidd is told."""
        return self.home / "cidd.json"

    @property
    def dnsmasq_settings(self) -> Path:
        """What dnsmasq is told."""
        return self.home / "dnsmasq.conf"

    @property
    def leases(self) -> Path:
        """The addresses that dnsmasq has given."""
        return self.home / "dnsmasq.leases"

    @property
    def command(self) -> Path:
        """cidcapt, for prologs: it stays at this path, and needs nothing of its caller's environment."""
        return self.state / "bin" / "cidcapt"

    @property
    def on_path(self) -> Path:
        """The same for people: a link."""
        return self.root / "usr/local/bin/cidcapt"

    @property
    def etc(self) -> Path:
        """Settings, and the access file of jobs."""
        return self.root / "etc/cncp"

    @property
    def access(self) -> Path:
        """How cidcapt reaches cidd."""
        return self.etc / "cidcapt.json"

    @property
    def own_lines(self) -> Path:
        """The administrator's own lines for dnsmasq, in files '*.conf'."""
        return self.etc / "dnsmasq.d"

    @property
    def boot_programs(self) -> Path:
        """The programs of iPXE, as Debian's package has them."""
        return self.root / "usr/lib/ipxe"
