"""Machines that meet their cluster in an object store or a shared folder: gone for a while, forged, shared, lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cncp.rendezvous.store import Store

from .host import Host
from .nspawn import Lab
from .site import ROOT, until
from .sites import MakeSite, fetch_locked
from .test_join import Pair, holders
from .weed import SECRET, Weed

ORPHAN = 12  # s


@pytest.fixture(scope="module")
def weed(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weed]:
    """Run an object store that hosts reach."""
    made = Weed(tmp_path_factory.mktemp("weed"), lab.address)
    yield made
    made.close()


@pytest.fixture(scope="module")
def pair(make_host: Callable[..., Host], make_site: MakeSite, weed: Weed, wheelhouse: Path) -> Pair:
    """Boot two machines; the controller's has a cluster.toml with the store, and who may write there."""
    fetch_locked(wheelhouse, ROOT / "bootstrap" / "locks" / "store.txt")
    hosts = [make_host(name, "bookworm", ("cron", "python3-venv"), users=("bob", "ada")) for name in ("gold", "silver")]
    for host in hosts:
        host.boot()
    found = Pair(*(make_site(host, "bob") for host in hosts))
    gold = found.gold
    gold.host.write(f"{gold.home}/store.env", Path(weed.credentials).read_text(), "bob", 0o600)
    table = {"store": "s3://lab/cncp", "endpoint": weed.endpoint, "credentials": "store.env"}
    lines = [f'{name} = "{value}"' for name, value in table.items()]
    content = "\n".join(["[rendezvous]", *lines, "poll = 1", f"orphan = {ORPHAN}", ""])
    gold.host.write(f"{gold.home}/cluster.toml", content, "bob")
    gold.baremetal("--engines=1", "--listen=all", "--tolerance=10")
    return found


def lease(pair: Pair, store: Store) -> str:
    """Return the key of the lease that the member follows."""
    known = pair.member()
    found = [key for key in store.keys(f"cncp/v1/{known['cluster']}/") if "lease" in key]
    assert found == [f"cncp/v1/{known['cluster']}/lease-{known['access']['generation']}.json"]
    return found[0]


def until_state(pair: Pair, *states: str, timeout: float = 60) -> None:
    """Wait until the member is in one of these states."""
    until(lambda: pair.member()["state"] in states, timeout, f"a member that is {' or '.join(states)}")


def log(pair: Pair) -> str:
    """Return the log of the member's service."""
    return pair.silver.host.read(f"{pair.silver.home}/.ipython/profile_cncp/log/rendezvous.log")


def test_without_the_package_it_is_named(pair: Pair) -> None:
    """The library of object stores is not in every virtualenv; nothing is made before it is there."""
    refused = pair.gold.cncp("invite", check=False)
    assert refused.returncode == 1
    assert "needs the package obstore" in refused.stderr
    assert "cncp pip install obstore" in refused.stderr
    pair.gold.cncp("pip", "install", "obstore")


def test_joining_by_the_store(pair: Pair, weed: Weed) -> None:
    """A signed URL and a sealed document are all that the member has; no credentials are there."""
    made = pair.invite("--engines", "1")
    assert made["join"].startswith(weed.endpoint)
    pair.paste(made["line"])
    pair.until("gold", "silver")
    until_state(pair, "held")
    assert holders(pair.silver.host, SECRET) == []
    assert holders(pair.silver.host, made["key"]) == []
    assert [path.split()[0] for path in holders(pair.gold.host, SECRET)] == ["600"]


def test_the_store_is_gone_for_a_while(pair: Pair, weed: Weed) -> None:
    """Longer than a member waits for a word: the controller answers, and engines stay."""
    before = pair.silver.status()["engine-0"]["pid"]
    weed.close()
    until(lambda: pair.member()["heard"] > ORPHAN and "no lease" in log(pair), 30, "a member that misses its lease")
    known = pair.member()["heard"]
    until(lambda: pair.member()["heard"] > known + ORPHAN, 60, "a controller that answers")
    assert pair.member()["state"] == "held"
    assert pair.silver.status()["engine-0"]["pid"] == before
    weed.start()
    pair.gold.cncp("keys.rotate", "--quiet")
    pair.until("gold", "silver")


def test_old_and_foreign_leases_are_refused(pair: Pair, weed: Weed) -> None:
    """Whoever can write to the store can have nobody follow them, nor back to former keys."""
    store = weed.store("s3://lab/cncp", weed.credentials)
    key = lease(pair, store)
    old = store.get(key)
    pair.gold.cncp("keys.rotate", "--quiet")
    pair.until("gold", "silver")
    current = store.get(key)
    assert old
    assert current not in (None, old)
    known = pair.member()
    document: dict[str, Any] = json.loads(current or b"")
    for content, said in (
        (old, "an older one put in its place"),
        (json.dumps({**document, "serial": 999}).encode(), "the key does not open"),
        (json.dumps({**document, "cluster": "f" * 16}).encode(), "is of the cluster ffff"),
        (b"\0" * 1000, "is damaged"),
    ):
        store.put(key, content)
        until(lambda said=said: said in log(pair), 30, said)  # type: ignore[misc]
    assert pair.member()["fingerprint"] == known["fingerprint"]
    assert pair.where() == ["gold", "silver"]
    store.put(key, current or b"")
    until_state(pair, "held")


def test_two_clusters_share_a_bucket(pair: Pair, weed: Weed, make_site: MakeSite) -> None:
    """A second one, of another account: neither touches what is the other's, and it leaves nothing."""
    store = weed.store("s3://lab/cncp", weed.credentials)
    first, gold = lease(pair, store), pair.gold
    ada = make_site(gold.host, "ada")
    for name in ("store.env", "cluster.toml"):
        ada.host.write(f"{ada.home}/{name}", gold.host.read(f"{gold.home}/{name}"), "ada", 0o600)
    ada.baremetal("--engines=1", "--listen=all")
    ada.cncp("pip", "install", "obstore")
    made = json.loads(ada.cncp("invite", "--json", "--quiet").stdout)
    assert made["cluster"] != pair.member()["cluster"]
    assert len({key.split("/")[2] for key in store.keys("cncp/v1/")}) == 2
    ada.cncp("uninstall")
    assert store.keys(f"cncp/v1/{made['cluster']}/") == []
    assert lease(pair, store) == first
    assert pair.where() == ["gold", "silver"]


def test_everything_is_gone(pair: Pair, weed: Weed) -> None:
    """Neither store nor controller for as long as is set: engines end, and come back with them."""
    weed.close()
    pair.gold.host.power_off()
    until_state(pair, "lost", timeout=90)
    # The engine ends first, and is then started again to wait.
    until(lambda: pair.silver.status()["engine-0"]["state"] == "parked", 30, "a parked engine")
    weed.start()
    pair.gold.host.boot()
    until_state(pair, "held", "moved", timeout=90)
    pair.until("gold", "silver", timeout=90)


def test_uninstall_leaves_nothing_in_the_store(pair: Pair, weed: Weed) -> None:
    """Members are told to end before that."""
    pair.gold.cncp("down")
    until_state(pair, "stopped")
    pair.gold.cncp("uninstall")
    assert weed.store("s3://lab/cncp", weed.credentials).keys("") == []


def test_a_shared_folder(pair: Pair) -> None:
    """A path in place of a URL; here one that both hosts were given by hand."""
    gold, silver = pair.gold, pair.silver
    silver.cncp("uninstall")
    for site in (gold, silver):
        site.host.exec(["install", "-d", "-o", "bob", "/srv/shared"])
    gold.host.write(f"{gold.home}/cluster.toml", '[rendezvous]\nstore = "file:///srv/shared"\npoll = 1\n', "bob")
    gold.baremetal("--engines=1", "--listen=all")
    made = pair.invite("--engines", "1")
    assert made["join"].startswith("file:///srv/shared/cncp/v1/")
    gold.host.exec(["tar", "-C", "/srv", "-cf", "/srv/shared.tar", "shared"])
    silver.host.put(gold.host.root / "srv" / "shared.tar", "/srv/shared.tar")
    silver.host.exec(["tar", "-C", "/srv", "-xf", "/srv/shared.tar"])
    pair.paste(made["line"])
    pair.until("gold", "silver")
