"""Packages whose ``__init__`` runs when something that it defines is asked for, and not before.

Importing any module of a package runs the package's ``__init__``: that of ipyparallel imports clients
and launchers, that of jupyter_client managers of kernels, and neither is of use in an engine. psutil is for
a process beside the engine that ours does not begin. Together they are a third of the processor time that an
engine's imports take. (importlib's LazyLoader runs it as soon as a submodule is imported, which is at once.)
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from types import ModuleType
from typing import Any

_LOADING = threading.RLock()
"""Held while a package runs: other threads wait until it has run."""

_running: set[str] = set()


_found_in: dict[str, dict[str, str]] = {}
"""Of each package, in which submodule what it has from there is: for that it need not run."""


class _Deferred(ModuleType):
    """A package of which only the submodules that were imported are there."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in ("__all__", "__version__"):
            raise AttributeError(name)
        if name in _found_in[self.__name__]:
            return getattr(importlib.import_module(f"{self.__name__}.{_found_in[self.__name__][name]}"), name)
        submodule = f"{self.__name__}.{name}"
        if importlib.util.find_spec(submodule) is not None:
            return importlib.import_module(submodule)
        with _LOADING:
            # Another thread may have run it meanwhile; and while it runs, this thread asks for what is not there yet.
            if type(self) is _Deferred and self.__name__ not in _running:
                assert self.__spec__ is not None  # noqa: S101  # `defer` gave it one
                assert self.__spec__.loader is not None  # noqa: S101
                _running.add(self.__name__)
                try:
                    self.__spec__.loader.exec_module(self)
                finally:
                    _running.discard(self.__name__)
                # Not before: to another thread an ordinary package would lack what it has not come to.
                self.__class__ = ModuleType  # type: ignore[assignment]
            return ModuleType.__getattribute__(self, name)


def defer(name: str, **found_in: str) -> None:
    """Have a package that was not imported yet be one of these. Raises ModuleNotFoundError.

    ``found_in`` says of what the package itself only imports in which of its submodules that is.
    """
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    module = importlib.util.module_from_spec(spec)
    module.__class__ = _Deferred
    _found_in[name] = found_in
    sys.modules[name] = module
