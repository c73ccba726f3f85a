"""The server as a machine that runs services: what its service manager is told, by the same means as for clusters."""

from __future__ import annotations

import hashlib
import os
import pwd
import socket
from pathlib import Path

from cncp.accounts import Account
from cncp.config.sources import recorded
from cncp.files import read_bytes, to_json
from cncp.install import source_code
from cncp.install.stamp import STAMP
from cncp.machine.node import Node
from cncp.netboot.service.server_paths import Paths

SERVICES = ("cidd", "dnsmasq")


class ServerNode(Node):
    """A machine whose services are these two."""

    @property
    def services(self) -> tuple[str, ...]:
        """Those of the server."""
        return SERVICES


def server_node(paths: Paths) -> ServerNode:
    """Return the server, kept by the system's systemd, or by what stands in for it."""
    systemd = paths.has_systemd
    root = pwd.getpwuid(os.geteuid())
    return ServerNode(
        settings=recorded({"profile": "netboot", "logs": "journal" if systemd else "files"}),
        # Its own home is closed to its services.
        account=Account(root.pw_name, root.pw_uid, root.pw_gid, str(paths.home)),
        host=socket.gethostname(),
        home=str(paths.home),
        profile_dir=str(paths.home),
        source=str(source_code.kept(paths.home)),
        manager="systemd" if systemd else "supervisor",
        scope="system" if systemd else "user",
        why="",
        controller=False,
        engine_ids=(),
        threads=1,
        gpus=(),
        location="",
    )


def digests(paths: Paths) -> dict[str, str]:
    """Return for each service what tells apart all that it depends on: it is restarted for that alone."""
    stamp = STAMP.intact(paths.home)
    code = read_bytes(source_code.kept(paths.home) / source_code.DIGEST) or b""
    own = sorted(paths.own_lines.glob("*.conf"))
    parts: dict[str, list[bytes]] = {
        "cidd": [to_json(stamp) if stamp else b"", code, _content(paths.cidd_settings)],
        "dnsmasq": [_content(paths.dnsmasq_settings), *map(_content, own)],
    }
    return {name: hashlib.sha256(b"\0".join(parts[name])).hexdigest()[:16] for name in SERVICES}


def _content(path: Path) -> bytes:
    return read_bytes(path) or b""
