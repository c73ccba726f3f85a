"""Two machines: a controller that others reach, and a machine of engines only."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import ipyparallel

from .host import Host
from .site import until
from .sites import MakeSite

SECURITY = ".ipython/profile_cncp/security"


def again(client: ipyparallel.Client, before: dict[int, int]) -> bool:
    """Tell whether the same ids answer, two of them from new processes."""
    try:
        # Asked once: engines come while the answers do.
        ids = client.ids
        pids = client[ids].apply_async(os.getpid).get(timeout=2)
    except Exception:  # noqa: BLE001  # whatever a client throws while engines are away
        return False
    now = dict(zip(ids, pids, strict=True))
    return sorted(now) == sorted(before) and sum(now[number] != before[number] for number in now) == 2


def test_controller_and_engines_on_two_hosts(
    bare: Host, make_host: Callable[..., Host], make_site: MakeSite, tmp_path: Path
) -> None:
    """Engines of another host join with the engine file alone; a client comes from a third; the rest is closed."""
    near = make_site(bare, "bob")
    far_host = make_host("far", "bookworm", ("cron", "python3-venv"), users=("bob",))
    far_host.boot()
    far = make_site(far_host, "bob")
    near.baremetal("--engines=1", "--listen=all", f"--external={bare.address}")

    refused = far.baremetal("--role=engine", "--engines=2", check=False)
    assert refused.returncode == 1
    assert "the engines have no connection file" in refused.stderr
    engine_file = near.host.read(f"{near.home}/{SECURITY}/ipcontroller-engine.json")
    far.host.write(f"{far.home}/{SECURITY}/ipcontroller-engine.json", engine_file, "bob", 0o600)
    assert "2 engines run" in far.baremetal("--role=engine", "--engines=2").stdout
    assert {service["state"] for service in far.status().values()} == {"running"}

    connection = tmp_path / "client.json"
    connection.write_text(near.host.read(f"{near.home}/{SECURITY}/ipcontroller-client.json"))
    with ipyparallel.Client(str(connection), timeout=20) as client:
        client.wait_for_engines(3, timeout=20)
        names = client[:].apply_sync(socket.gethostname)
        assert sorted(names) == ["bare", "far", "far"]
        # The first host's own engine is told apart from the other's of the same number.
        assert "nothing to change" in near.baremetal().stdout
        assert {name: service["id"] for name, service in near.status().items()} == {"controller": None, "engine-0": 0}
        before = dict(zip(client.ids, client[:].apply_sync(os.getpid), strict=True))
        far_host.exec(["pkill", "-KILL", "-u", "bob", "-f", "cncp.remote serve engine"])
        # Both engines of that host come back under the ids they had, not those they first asked for.
        until(lambda: again(client, before), 20, "the killed engines")
        # The network between them fails for a moment: the same engines come back by themselves.
        far_host.network(False)
        far_host.network(True)
        until(lambda: sorted(client[:].apply_async(abs, -1).get(timeout=5)) == [1, 1, 1], 30, "all engines")

    identity = json.loads(near.host.read(f"{near.home}/{SECURITY}/cncp-identity.json"))
    listening = near.host.exec(["ss", "-Hltn"]).stdout.split()
    for port in identity["ports"]["internal"]:
        assert [listener for listener in listening if listener.endswith(f":{port}")] == [f"127.0.0.1:{port}"]
    for site in (far, near):
        site.cncp("uninstall")
