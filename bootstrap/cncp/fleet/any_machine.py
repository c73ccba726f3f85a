"""A machine of a cluster, and what it is asked: the same of this one, in this process, and of others over ssh."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence

from cncp.console import Console
from cncp.machine.ops.busy_engines import Manners
from cncp.machine.ops.doctor import Finding
from cncp.machine.ops.engine_states import RollCall
from cncp.machine.ops.status import Status

Said = Sequence[str] | Mapping[str, object]
"""What came of a verb, to be shown: lines, or JSON types where they were asked for."""


class Machine(ABC):
    """A machine on which something of ours is. It does what it is asked for itself alone.

    ``name`` is what the cluster calls it, "" where nobody has named it. What it says on the way goes to ``console``.
    Services are named with commas between, "" stands for all. All methods raise CncpError.
    """

    def __init__(self, name: str, console: Console) -> None:
        self.name = name
        self.console = console

    @abstractmethod
    def status(self) -> list[Status]:
        """Return its services; what engines do at a controller elsewhere it cannot tell."""

    def stopped(self) -> bool:
        """Tell whether its services are known to have been ended by `down`."""
        return False

    @abstractmethod
    def check(self) -> list[Finding]:
        """Look for what is wrong with it."""

    def way(self) -> list[Finding]:
        """Look for what is wrong with its way to a controller elsewhere, by dialling each port."""
        return []

    @abstractmethod
    def logs(self, names: str, lines: int) -> Said:
        """Return the last ``lines`` lines of services' logs."""

    @abstractmethod
    def follow(self, names: str, lines: int) -> None:
        """Show the last ``lines`` lines of logs, and what follows, until the user ends it."""

    @abstractmethod
    def scale(self, count: str, manners: Manners, *, as_json: bool) -> Said:
        """Run ``count`` engines, or as many more or fewer: +1, -1."""

    @abstractmethod
    def restart(self, names: str, manners: Manners) -> Said:
        """Restart services."""

    @abstractmethod
    def down(self, manners: Manners) -> Said:
        """Stop its services until the next `up`."""

    @abstractmethod
    def interrupt(self, names: str, *, everyone: bool) -> Said:
        """Interrupt engines of whatever machines; the controller is to be on this one."""

    @abstractmethod
    def uninstall(self) -> Said:
        """Remove all that was written there."""

    @abstractmethod
    def roll_call(self, uuids: Collection[str], patience: float) -> RollCall:
        """Ask its controller which engines answer, up to ``patience`` s for all of them."""
