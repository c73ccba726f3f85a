"""cncp: IPython Parallel clusters on anything you can log in to."""

# Not typing's, whose import is time that a Ctrl-C at the start of a program would not be ours.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from cncp.api import Cluster, Report
    from cncp.errors import CncpError
    from cncp.machine.ops.status import Status
    from cncp.ssh.pool import SomeHostsFailed

__version__ = "0.1.0"

__all__ = ["Cluster", "CncpError", "Report", "SomeHostsFailed", "Status", "__version__"]


def __getattr__(name: str) -> object:
    """Import what programs use once they do: engines and stage0 import this package as well."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cncp import api

    return getattr(api, name)
