"""keys.copy: a client's connection file from the controller's host, made to work from here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cncp.client import connect_state, reach, remote_profile
from cncp.client.profile import Profile
from cncp.console import Console
from cncp.errors import CncpError
from cncp.records import Record
from cncp.ssh.connection import Remote


@dataclass(frozen=True)
class Copied(Record):
    """What a copy left: where, of which cluster, dialled at what address."""

    profile: str
    path: Path
    fingerprint: str
    address: str
    changed: bool
    backup: Path | None


def copy(remote: Remote, name: str, into: Profile, console: Console, *, address: str, force: bool) -> Copied:
    """Fetch the client file of profile ``name`` and write it for this machine. Raises CncpError.

    Nothing is written before the controller has answered at the address that the file will name.
    """
    if connect_state.running(into.path.parent, into.name):
        raise CncpError(
            f"profile {into.name} is in use by connect", "end that first: cncp connect --stop; or --as NAME"
        )
    console.phase(f"asking {remote.spec.name}")
    with remote:
        place = remote_profile.look(remote)
        document = remote_profile.client_file(remote, place, name)
        into.check(document, force=force)
        tries = [address] if address else reach.candidates(document, remote, place.server, place.name)
        # Alone, loopback there is not loopback here: it would reach a stranger, or nobody.
        tried = [] if document.on_loopback and not address else reach.attempts(document, tries)
        found = reach.best(tried)
        if found is None:
            raise _at_address(address, tried) or reach.unreachable(document, remote, tried)
    final = document.at(found.address)
    backup = into.keep_former(final)
    changed = into.write(final)
    return Copied(into.name, into.client, final.fingerprint, found.address, changed, backup)


def _at_address(address: str, tried: list[reach.Tried]) -> CncpError | None:
    if not address or not tried:
        return None
    message = str(tried[0]) if tried[0].answers else f"{address}: no answer from this controller"
    return CncpError(message, "leave --address out to have others tried, or go through ssh: cncp connect --host HOST")
