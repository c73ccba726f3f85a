"""``import ipyparallel`` for an engine: without the client, which an engine has no use for.

The package's own ``__init__`` imports the client, its views and the launchers: a third of the
processor time that an engine needs to start. An engine's modules are in the package, but need
none of that. The package is therefore entered without running ``__init__``; the first task that
asks it for anything that is not there yet, such as ``ipyparallel.Client``, has it run.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
from types import ModuleType
from typing import Any

from cncp.errors import CncpError


def enter(name: str) -> ModuleType:
    """Put a package into ``sys.modules`` whose ``__init__`` runs when it is first needed.

    Its submodules can be imported at once. Raises CncpError where there is no such package.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise CncpError(f"the virtualenv has no {name}", "repair it: cncp up")
    module, loader = importlib.util.module_from_spec(spec), spec.loader
    running = threading.RLock()

    def whole(attribute: str) -> Any:
        # Asked by introspection of every module (inspect, doctest); never in the package.
        if attribute.startswith("__") and attribute != "__version__":
            raise AttributeError(attribute)
        with running:
            if module.__dict__.pop("__getattr__", None) is not None:
                loader.exec_module(module)
        return getattr(module, attribute)

    module.__dict__["__getattr__"] = whole
    sys.modules[name] = module
    return module
