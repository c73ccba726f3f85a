"""Our public key in the authorized_keys of many hosts: put in with one password for all, taken out again."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from cncp.config.inventory import HostSpec
from cncp.errors import CncpError
from cncp.ssh import authorized_keys
from cncp.ssh.askpass import Desk
from cncp.ssh.host_errors import HostError
from cncp.ssh.pool import Crew, Outcome
from cncp.ssh.user_key import PublicKey


def methods(error: CncpError) -> set[str]:
    """Return the ways a host offered to let us in, from its refusal."""
    if not isinstance(error, HostError) or "partial success" in error.said:
        # With what is asked for besides, a password by itself lets nobody in.
        return set()
    found = re.search(r"Permission denied \(([^)]*)\)", error.said)
    return set(found[1].split(",")) if found else set()


def authorize(
    specs: Sequence[HostSpec], key: PublicKey, ask: Callable[[Sequence[str]], str], *, strict: bool, verify: bool
) -> Outcome[str]:
    """Have all hosts take our key; return what was done on each.

    A password is asked for once, and only if there are hosts that let us in by no key. ``ask`` gets
    their names and returns it; a CncpError of it is the failure of those hosts alone. With
    ``verify`` those are logged in to with the key in the end, which must be usable without a question.
    """
    with Crew(specs, strict=strict) as crew:
        by_key = crew.each(lambda host: authorized_keys.add(host, key.identity, key.line))
    failures = {**crew.failures, **by_key.failures}
    closed = [spec for spec in specs if _takes_passwords(failures.get(spec.name))]
    failures.update(
        {
            name: _no_passwords(name, error)
            for name, error in failures.items()
            if methods(error) and not _takes_passwords(error)
        }
    )
    if not closed:
        return Outcome(by_key.results, failures)
    names = [spec.name for spec in closed]
    try:
        password = ask(names)
    except CncpError as error:
        return Outcome(by_key.results, {**failures, **dict.fromkeys(names, error)})
    by_password = _by_password(closed, key, password, strict=strict)
    if verify:
        by_password = _verified(closed, by_password, strict=strict)
    rest = {name: error for name, error in failures.items() if name not in by_password.results}
    return Outcome({**by_key.results, **by_password.results}, {**rest, **by_password.failures})


def _takes_passwords(error: CncpError | None) -> bool:
    return error is not None and bool(methods(error) & {"password", "keyboard-interactive"})


def _by_password(specs: Sequence[HostSpec], key: PublicKey, password: str, *, strict: bool) -> Outcome[str]:
    with Desk(password) as desk, Crew(specs, strict=strict, askpass=desk.program) as crew:
        done = crew.each(lambda host: authorized_keys.add(host, key.identity, key.line))
    refused = {name: _wrong(name) if methods(error) else error for name, error in crew.failures.items()}
    return Outcome(done.results, {**refused, **done.failures})


def _wrong(name: str) -> CncpError:
    hint = "check the user name and the password; its sshd may refuse passwords for this account"
    return HostError(name, "the password was not accepted", hint)


def _verified(specs: Sequence[HostSpec], done: Outcome[str], *, strict: bool) -> Outcome[str]:
    """Log in with the key where it was put: sshd ignores it where others may write to the home folder."""
    with Crew([spec for spec in specs if spec.name in done.results], strict=strict) as crew:
        useless = {
            name: HostError(
                name,
                "the key is in its authorized_keys, but it does not let us in with it",
                f"see that home, .ssh and authorized_keys there can be written by their owner alone: ssh {name}",
            )
            if methods(error)
            else error
            for name, error in crew.failures.items()
        }
    good = {name: result for name, result in done.results.items() if name not in useless}
    return Outcome(good, {**done.failures, **useless})


def _no_passwords(name: str, error: CncpError) -> CncpError:
    offered = ", ".join(sorted(methods(error)))
    return HostError(
        name,
        f"it lets us in with none of our keys, and takes no password (only {offered})",
        "have the line in ~/.ssh/cncp_ed25519.pub added to its authorized_keys by another way",
    )


def withdraw(specs: Sequence[HostSpec], key: PublicKey, *, strict: bool) -> Outcome[str]:
    """Take our key out of the authorized_keys of hosts; return what was done on each."""
    with Crew(specs, strict=strict) as crew:
        done = crew.each(lambda host: authorized_keys.remove(host, key.identity))
    return Outcome(done.results, {**crew.failures, **done.failures})
