"""``python -m cncp.serve controller|engine N --node FILE --digest DIGEST``: the services' command."""

from __future__ import annotations

import argparse
import importlib
import os
from pathlib import Path

from cncp.machine.node import installed
from cncp.serve import record
from cncp.serve.slots import new_uuid


def main() -> None:
    """Run the service until it is stopped."""
    parser = argparse.ArgumentParser(prog="cncp.serve")
    parser.add_argument("kind", choices=("controller", "engine"))
    parser.add_argument("number", nargs="?", type=int, default=0)
    parser.add_argument("--node", type=Path, required=True)
    parser.add_argument("--digest", required=True)
    given = parser.parse_args()
    # Whatever a service writes can hold task data; systemd sets the same for its units.
    os.umask(0o077)
    node = installed(given.node.parent)
    # The same place whoever started the service, and from wherever.
    os.chdir(node.account.home)
    # Left alone, IPython makes itself a folder in the home, wherever the profile is.
    os.environ["IPYTHONDIR"] = str(Path(node.profile_dir).parent)
    name = "controller" if given.kind == "controller" else f"engine-{given.number}"
    uuid = new_uuid(node.host, given.number) if given.kind == "engine" else ""
    record.write(node.run_dir, name, given.digest, uuid)
    if given.kind == "controller":
        controller = importlib.import_module("cncp.serve.controller")
        controller.serve(node)
    else:
        engine = importlib.import_module("cncp.serve.engine")
        engine.serve(node, given.number, uuid)


main()
