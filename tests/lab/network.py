"""The lab's network: one bridge with an address of its own, and no way out.

Hosts get no gateway and no name server, so everything they can reach is another
host of the lab or a server that the tests bind to the bridge's address.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from .command import LabError, run

PREFIX = "10.77"
FIRST_HOST = 10  # the last number of the first host's address


@dataclass(frozen=True)
class Bridge:
    """A bridge ``name`` that owns the network 10.77.``octet``.0/24."""

    name: str
    octet: int

    @classmethod
    def named(cls, octet: int) -> Bridge:
        """Name a bridge for this process; the kernel allows 15 characters, this needs 13."""
        return cls(f"cl{os.getpid()}x{octet}", octet)

    @property
    def address(self) -> str:
        """The address of the machine the tests run on, as the hosts see it."""
        return f"{PREFIX}.{self.octet}.1"

    def host_address(self, index: int) -> str:
        """Give the address of the host number ``index``, from 0."""
        return f"{PREFIX}.{self.octet}.{FIRST_HOST + index}"

    def create(self) -> None:
        """Make the bridge and bring it up."""
        # A fixed hardware address: otherwise it changes with every host that comes
        # and goes, and the others talk to the old one until their caches expire.
        mac = f"02:00:0a:4d:{self.octet:02x}:01"
        run(["ip", "link", "add", "name", self.name, "address", mac, "type", "bridge"])
        run(["ip", "link", "set", self.name, "addrgenmode", "none"])
        run(["ip", "addr", "add", f"{self.address}/24", "dev", self.name])
        run(["ip", "link", "set", self.name, "up"])
        _let_hosts_talk(self.name)

    def delete(self) -> None:
        """Remove the bridge, and the firewall rule it may have needed."""
        drop_link(self.name)
        if _filtered():
            run(["iptables", "-D", *_rule(self.name)], check=False)


def free_octet(taken: set[int]) -> int:
    """Find a number X for which 10.77.X.0/24 is in use neither here nor in ``taken``."""
    used = set(taken)
    for link in json.loads(run(["ip", "-json", "-4", "addr"]).stdout):
        for entry in link.get("addr_info", []):
            first, second, third, _ = entry["local"].split(".")
            if f"{first}.{second}" == PREFIX:
                used.add(int(third))
    for octet in range(1, 255):
        if octet not in used:
            return octet
    raise LabError(f"no network in {PREFIX}.0.0/16 is free", "end some of the labs")


def set_link(name: str, up: bool) -> None:
    """Bring a network interface of this machine up or down."""
    run(["ip", "link", "set", name, "up" if up else "down"])


def drop_link(name: str) -> None:
    """Remove a network interface of this machine, if it is there."""
    if (Path("/sys/class/net") / name).exists():
        # It may go by itself meanwhile: the kernel removes cables in its own time.
        run(["ip", "link", "delete", name], check=False)


def _filtered() -> bool:
    """Whether this machine's firewall also sees what hosts say to each other.

    Machines with Docker are so, and Docker's rules drop what is forwarded.
    """
    switch = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    on = switch.exists() and switch.read_text().strip() == "1"
    return on and shutil.which("iptables") is not None


def _rule(bridge: str) -> list[str]:
    return ["FORWARD", "-i", bridge, "-o", bridge, "-j", "ACCEPT"]


def _let_hosts_talk(bridge: str) -> None:
    """Accept what goes from one host to another, where a firewall would drop it."""
    if _filtered():
        run(["iptables", "-I", *_rule(bridge)], check=False)
