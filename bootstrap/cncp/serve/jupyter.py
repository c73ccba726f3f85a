"""JupyterLab as a service: on loopback, behind a pinned port and token, with all it keeps in one folder.

The folder open to it is the account's home: data and scripts lie there, and a smaller one would
protect nothing from notebooks, which run with all rights of the account anyway.
"""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from typing import Any

from cncp.machine.jupyter import notebooks, service
from cncp.machine.jupyter.service import Access
from cncp.machine.node import Node
from cncp.ports import is_free
from cncp.serve.log_files import log_to
from cncp.waiting import wait_until


def environment(node: Node) -> dict[str, str]:
    """Return variables that keep Jupyter's own files together."""
    folder = service.folder(node)
    programs = (node.python.parent, Path(node.account.home) / ".local" / "bin")
    return {
        # In a notebook's or terminal's shell, programs are the virtualenv's, and there is `cncp`.
        "PATH": os.pathsep.join([*map(str, programs), os.environ.get("PATH", os.defpath)]),
        "VIRTUAL_ENV": str(node.python.parent.parent),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        # Before all other places: a kernel of the virtualenv's own has the same name.
        "JUPYTER_PATH": str(folder / "share"),
    }


def configuration(node: Node, access: Access) -> dict[str, dict[str, Any]]:
    """Return Jupyter's settings by class. A configuration file of the user's own adds to them."""
    folder = service.folder(node)
    home = Path(node.account.home)
    opened = notebooks.folder(node)
    return {
        "ServerApp": {
            "ip": service.ADDRESS,
            "port": access.port,
            # Another port would be one that no tunnel and no open page knows.
            "port_retries": 0,
            "open_browser": False,
            "root_dir": str(home),
            **({"preferred_dir": str(opened)} if opened.is_dir() else {}),
            "allow_root": True,
            # It would come right back.
            "quit_button": False,
        },
        "IdentityProvider": {"token": access.token},
        # One way in: what is pinned here, and not a password that somebody once chose on that page.
        "PasswordIdentityProvider": {"allow_password_change": False},
        # Beside every notebook otherwise.
        "FileCheckpoints": {"root_dir": str(folder / "checkpoints")},
        # Looking for language servers starts npm, which leaves a log in the home each time.
        "LanguageServerManager": {"autodetect": False, "virtual_documents_dir": str(folder / "documents")},
        # Between the server and its kernels, which other accounts of this machine share the loopback with.
        "KernelManager": {"transport_encryption": "auto"},
        "LabApp": {
            "user_settings_dir": str(folder / "config" / "settings"),
            "workspaces_dir": str(folder / "config" / "workspaces"),
            # Packages come from the locks, and no index is asked for others.
            "extension_manager": "readonly",
        },
    }


def await_port(port: int, say: Any) -> None:
    """Wait until a port is free: whoever has it may end, and nobody is helped by a start every second."""
    if is_free(port):
        return
    say("port %s is taken by another program: waiting for it", port)
    wait_until(lambda: is_free(port), math.inf, 1.0)


def serve(node: Node) -> None:
    """Run JupyterLab on a node."""
    access = service.load(node)
    if access is None:
        sys.exit(f"{service.access_path(node)} is missing or damaged: cncp up makes it")
    os.environ.update(environment(node))
    # It reads its folders from the environment when it is imported.
    from ipyparallel.nbextension import handlers
    from jupyterlab.labapp import LabApp
    from traitlets.config import Config

    from cncp.serve.lab_cluster import Clusters

    Clusters.profile = node.settings.profile
    handlers.ClusterManager = Clusters
    settings = Config(configuration(node, access))
    # No page that opens it: `cncp jupyter.open` makes its own, when one is wanted.
    app = LabApp.make_serverapp(config=settings, jpserver_extensions={"jupyterlab": True}, no_browser_open_file=True)
    log_to(node, service.NAME, app.log)
    await_port(access.port, app.log.warning)
    app.initialize(argv=[], starter_extension=LabApp.name, find_extensions=True)
    app.start()
