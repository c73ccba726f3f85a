"""Keys: readable by nobody else at any moment, in no list of processes, log or output, and used."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from .host import Host
from .site import Site
from .sites import MakeSite

CAPTURE = Path(__file__).with_name("capture.py")
MARKER = "the-quick-brown-fox-of-this-test"

READER = """
import glob, os, sys
seen = set()
print("ready", flush=True)
while not os.path.exists("/tmp/enough"):
    for folder in ("/home/bob/.ipython/profile_cncp/security", "/home/bob/.local/share/cncp"):
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        seen.update(f"{folder}/{name}" for name in names)
print(sorted(seen))
"""


@pytest.fixture(scope="module")
def site(bare: Host, make_site: MakeSite) -> Site:
    """A plain user whose home others may look into, as is usual at universities."""
    made = make_site(bare, "bob")
    bare.exec(["chmod", "0755", made.home])
    return made


def test_nobody_reads_keys_while_they_are_made(site: Site) -> None:
    """Another user who looks all the time, under the most careless umask, gets to see nothing."""
    argv = [*site.host.ssh_command("ada"), "python3", "-u", "-"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        reader.stdin.write(READER)
        reader.stdin.close()
        reader.stdout.readline()
        site.host.run(["bash", "-c", f"umask 0; bash {site.work}/baremetal.sh --engines=2"], site.user, timeout=240)
        site.host.exec(["touch", "/tmp/enough"])
        assert reader.stdout.readline().strip() == "[]"
    modes = site.host.exec(["find", f"{site.home}/.ipython/profile_cncp/security", "-printf", "%m %P\n"]).stdout
    assert sorted(modes.splitlines()) == [
        "600 cluster-.json",
        "600 cncp-identity.json",
        "600 ipcontroller-client.json",
        "600 ipcontroller-engine.json",
        "700 ",
    ]


def test_keys_are_in_no_process_list_log_or_output(site: Site) -> None:
    """What is secret stands in the files made for it and nowhere else; nor in what is told of each command."""
    site.host.write(f"{site.home}/variables", f"TOKEN={MARKER}\n", owner="bob")
    identity = json.loads(site.host.read(f"{site.home}/.ipython/profile_cncp/security/cncp-identity.json"))
    said = [
        site.host.exec(["ps", "auxewww"]).stdout,
        site.host.journal(),
        site.cncp("status", "--json").stdout,
        site.cncp("plan", "--json").stdout,
        site.cncp("logs", "--lines", "1000").stdout,
        site.baremetal("--json").stdout,
        site.baremetal("--heartbeat=260", "--json").stderr,
        site.baremetal("--debug", f"--environment=@{site.home}/variables").stderr,
        site.cncp("restart", "--debug").stderr,
        site.host.read(f"{site.home}/.local/share/cncp/cncp.log"),
    ]
    assert all("[localhost] exited with 0 after" in text for text in said[-3:])
    assert not [text for text in said if MARKER in text]
    for name in ("key", "curve_secretkey", "curve_publickey"):
        secret = identity[name]
        assert not [text for text in said if secret in text], name
        found = site.host.exec(["grep", "-rlF", "--", secret, site.home, "/etc", "/var/log"], check=False).stdout
        security = f"{site.home}/.ipython/profile_cncp/security/"
        assert all(path.startswith(security) for path in found.splitlines()), found


@pytest.mark.parametrize("encryption", ["true", "false"])
def test_traffic(site: Site, encryption: str) -> None:
    """What a client sends is not to be read on the wire; without encryption it is, so the look is a real one."""
    site.baremetal("--engines=2", f"--encryption={encryption}")
    site.host.write("/root/capture.py", CAPTURE.read_text())
    argv = [*site.host.ssh_command("root"), "python3", "/root/capture.py", "/root/traffic"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as tap:
        assert tap.stdin is not None
        assert tap.stdout is not None
        tap.stdout.readline()
        code = (
            "import ipyparallel, sys; c = ipyparallel.Client(profile='cncp'); print(c[:].apply_sync(len, sys.argv[1]))"
        )
        assert site.python(code, MARKER).stdout.strip() == str([len(MARKER)] * 2)
        tap.stdin.close()
        tap.wait(20)
    seen = site.host.exec(["grep", "-c", MARKER, "/root/traffic"], check=False).stdout.strip()
    assert (seen == "0") == (encryption == "true")
    assert int(site.host.exec(["stat", "-c", "%s", "/root/traffic"]).stdout) > 10_000
    if encryption == "false":
        site.cncp("uninstall")
