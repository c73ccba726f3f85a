"""What a ``[[pool]]`` says of netbooted nodes: its keys, how they are read.

[[pool]]
provider = "netboot"
nodes = ["node[1-16]"]
image = "compute-1-0"
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cncp.config.hostlist import MAX_HOSTS, expand, split
from cncp.errors import UsageError
from cncp.netboot.cidcapt import CiddClient, client_of
from cncp.netboot.image_name import checked
from cncp.netboot.node_states import NODE_FORM
from cncp.pools.base import Want
from cncp.pools.cloud.cloud_table import duration

ACCESS = "/etc/cncp/cidcapt.json"
"""Where ``cncp netboot.up`` leaves for those who may how cidd is reached."""


def _nodes(raw: Any) -> tuple[str, ...]:
    wanted = 'a list of nodes, as in ["node[1-16]", "node20"]'
    if not isinstance(raw, list) or not raw or not all(isinstance(pattern, str) for pattern in raw):
        raise ValueError(wanted)
    try:
        names = [name for pattern in raw for word in split(pattern) for name in expand(word, "nodes")]
    except UsageError as error:
        raise ValueError(f"{wanted}: {error.message}") from None
    twice = next((name for name in names if names.count(name) > 1), "")
    if twice or not names or len(names) > MAX_HOSTS:
        why = f"{twice} stands there twice" if twice else f"{len(names)} are not 1 to {MAX_HOSTS}"
        raise ValueError(f"{wanted}: {why}")
    if odd := [name for name in names if not re.fullmatch(NODE_FORM, name)]:
        raise ValueError(f"{wanted}: {odd[0]!r} is no name of a node")
    return tuple(names)


def _image(raw: Any) -> str:
    try:
        return checked(raw if isinstance(raw, str) else "")
    except UsageError:
        raise ValueError("the name of an image, NAME-VERSION-SUBVERSION, as in compute-1-0") from None


def _path(raw: Any) -> str:
    if isinstance(raw, str) and raw and "\0" not in raw:
        return raw
    raise ValueError("the path of a file")


WANTS: Mapping[str, Want] = {
    "nodes": Want(_nodes, '["NODES"]', "the nodes, by their names at cidd; cncp scale takes the first of them"),
    "image": Want(_image, "NAME-VERSION-SUBVERSION", "what they boot: an image with engines"),
    "access": Want(_path, "FILE", "how cidd is reached, and the token", ACCESS),
    "deadline": Want(duration(600, 86400), "TIME", "how long nodes have to be in the image with their engines", 3600),
}
"""The keys of a pool of netbooted nodes, besides those that all hosts can have, such as engines."""


def client(wanted: Mapping[str, Any], folder: Path, where: str) -> CiddClient:
    """Return who asks cidd. Raises UsageError where the file that says how is not there, or none."""
    path = folder / Path(wanted["access"]).expanduser()
    try:
        return client_of(path)
    except OSError as error:
        raise UsageError(
            f"{where}: {path} cannot be read: {error.strerror}",
            'on the server cncp netboot.up writes it; have a copy that is yours, 0600, and name it: access = "FILE"',
        ) from None
