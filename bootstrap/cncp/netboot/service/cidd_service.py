"""cidd, kept by whatever keeps our services: begun by root, it is an account without rights before it hears anybody."""

from __future__ import annotations

import os
import pwd
import sys

from cncp.machine.node import Node
from cncp.netboot import cidd
from cncp.netboot.service.server_paths import ACCOUNT


def serve(node: Node) -> None:
    """Serve until the end is asked for."""
    become(ACCOUNT)
    sys.exit(cidd.main([f"{node.home}/cidd.json"]))


def become(name: str) -> None:
    """Be an account, for good, where this is root: not by the unit, as not all that keeps services can do that."""
    if os.geteuid() == 0:
        account = pwd.getpwnam(name)
        os.setgroups([])
        os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
        os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
