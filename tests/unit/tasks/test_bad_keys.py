"""Bad input to keys.* and connect: exit 2, a line of what, a line of what to do, and nothing changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..refusal import answered, cncp_refused

PUBLIC = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGxvbmcgZW5vdWdoIHRvIGJlIGEga2V5IG9mIHR5cGU= me"

LINES = [
    "keys.authorize",
    "keys.authorize --hosts",
    "keys.authorize --hosts gold[7-2]",
    "keys.authorize --hosts gold[2-",
    "keys.authorize --hosts gold[1-5000]",
    "keys.authorize --hosts -oProxyCommand=x",
    "keys.authorize --hosts ada@@x",
    "keys.authorize --hosts x:0",
    "keys.authorize --hosts x:70000",
    "keys.authorize --hosts x;y",
    "keys.authorize --hosts gold1,gold1",
    "keys.authorize --hosts localhost",
    "keys.authorize --hosts ,",
    "keys.authorize --hosts gold1 --file hosts.txt",
    "keys.authorize --file missing.toml",
    "keys.authorize --file empty.txt",
    "keys.authorize --hosts gold1 --host-keys never",
    "keys.authorize --hosts gold1 --key missing.pub",
    "keys.authorize --hosts gold1 --key private",
    "keys.authorize --hosts gold1 --key empty.txt",
    "keys.authorize --hosts gold1 --password secret",
    "keys.generate",
    "keys.generate --passphrase secret",
    "keys.copy",
    "keys.copy --host gold[1-2]",
    "keys.copy --host localhost",
    "keys.copy --host a/b",
    "keys.copy --host gold1 --profile ../evil",
    "keys.copy --host gold1 --profile -x",
    "keys.copy --host gold1 --as a/b",
    "keys.copy --host gold1 --address bad_host",
    "keys.copy --host gold1 --address 10.0.0.300",
    "keys.copy --host gold1 --host-keys off",
    "keys.show --profile ../..",
    "keys.rotate --wait -5",
    "keys.rotate --wait soon",
    "keys.rotate --wait 1e9",
    "keys.revoke --host localhost",
    "keys.revoke --host gold1",
    "keys.frobnicate",
    "connect",
    "connect --host gold1 --status",
    "connect --status --stop",
    "connect --host gold[1-3]",
    "connect --host gold1 --ports 80-90",
    "connect --host gold1 --ports 20000-20003",
    "connect --host gold1 --ports 20010-20000",
    "connect --host gold1 --ports 65530-65540",
    "connect --host gold1 --ports many",
    "connect --host gold1 --as ''",
    "connect --host gold1 --profile a.b",
]


@pytest.fixture
def home(home: Path) -> Path:
    """A home with a public key and files that hold none."""
    (home / "empty.txt").write_text("# nobody\n")
    (home / "hosts.txt").write_text("gold1\n")
    (home / "private").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    return home


@pytest.mark.parametrize("line", LINES)
def test_refused(line: str, home: Path) -> None:
    """What makes no sense is refused before anybody is asked or any host dialled."""
    if "--key" not in line and not line.startswith(("keys.generate", "keys.revoke")):
        (home / ".ssh").mkdir()
        (home / ".ssh" / "cncp_ed25519.pub").write_text(PUBLIC)
    answered(home, [word.strip("'") for word in line.split(" ")])


@pytest.mark.parametrize("line", ["keys.copy --host a/b", "connect --host gold1 --ports many"])
def test_by_a_program_of_its_own(line: str, home: Path) -> None:
    """So is it by the command as users start it."""
    cncp_refused(home, line.split(" "))
