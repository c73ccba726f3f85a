"""``python -m cncp.serve KIND [INSTANCE] --node FILE --digest DIGEST``: the command of every service."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
from pathlib import Path

from cncp.machine.kinds import KINDS, join, known
from cncp.machine.node import installed
from cncp.serve import record
from cncp.serve.logs import note_end
from cncp.serve.slots import uuid_of


def main() -> None:
    """Run the service until it is stopped."""
    parser = argparse.ArgumentParser(prog="cncp.serve")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("instance", nargs="?", default="")
    parser.add_argument("--node", type=Path, required=True)
    parser.add_argument("--digest", required=True)
    given = parser.parse_args()
    # Blocked in supervisord, and thereby here.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])
    # Whatever a service writes can hold task data; systemd sets the same for its units.
    os.umask(0o077)
    node = installed(given.node.parent)
    # The same place whoever started the service, and from wherever.
    os.chdir(node.account.home)
    # Left alone, IPython makes itself a folder in the home, wherever the profile is.
    os.environ["IPYTHONDIR"] = str(Path(node.profile_dir).parent)
    name = join(given.kind, given.instance)
    if not known(name):
        parser.error(f"there is no service {name}")
    uuid = uuid_of(node.host, int(given.instance), os.getpid()) if given.kind == "engine" else ""
    record.write(node.run_dir, name, given.digest, uuid)
    try:
        service = importlib.import_module(f"cncp.serve.{given.kind}")
        if given.kind == "engine":
            service.serve(node, int(given.instance), uuid)
        else:
            service.serve(node, *filter(None, [given.instance]))
    except Exception as error:
        note_end(node, name, error)
        raise


main()
