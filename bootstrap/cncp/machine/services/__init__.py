"""The service managers, one interface for all: ``managers`` finds them, ``base`` says what each has to do."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cncp.machine.services.base import ServiceManager, ServiceState
    from cncp.machine.services.managers import MANAGERS, insist, manager_files, manager_kind, service_manager

__all__ = ["MANAGERS", "ServiceManager", "ServiceState", "insist", "manager_files", "manager_kind", "service_manager"]


def __getattr__(name: str) -> object:
    """Import what commands use once they do: services read only what kinds there are, and what runs."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cncp.machine.services import base, managers

    return getattr(base if name.startswith("Service") else managers, name)
