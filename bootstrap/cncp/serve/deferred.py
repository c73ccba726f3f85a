"""Packages whose ``__init__`` runs when something that it defines is asked for, and not before.

Importing any module of a package runs the package's ``__init__``, and that of ipyparallel imports
clients and launchers, which no engine uses: an eighth of the processor time that an engine's imports
take. (importlib's LazyLoader runs it as soon as a submodule is imported, which is at once.)
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from types import ModuleType
from typing import Any

_LOADING = threading.RLock()


class _Deferred(ModuleType):
    """A package of which only the submodules that were imported are there."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in ("__all__", "__version__"):
            raise AttributeError(name)
        submodule = f"{self.__name__}.{name}"
        if importlib.util.find_spec(submodule) is not None:
            return importlib.import_module(submodule)
        with _LOADING:
            if type(self) is _Deferred:
                self.__class__ = ModuleType  # type: ignore[assignment]  # an ordinary package from here on
                assert self.__spec__ is not None  # noqa: S101  # `defer` gave it one
                assert self.__spec__.loader is not None  # noqa: S101
                self.__spec__.loader.exec_module(self)
        return getattr(self, name)


def defer(name: str) -> None:
    """Have a package that was not imported yet be one of these. Raises ModuleNotFoundError."""
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    module = importlib.util.module_from_spec(spec)
    module.__class__ = _Deferred
    sys.modules[name] = module
