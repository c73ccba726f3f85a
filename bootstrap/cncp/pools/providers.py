"""The pools of a cluster: which providers there are, and what the tables of cluster.toml make of them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from cncp.config.inventory import HOSTS, Inventory, PoolTable
from cncp.errors import CncpError, UsageError
from cncp.extensions import Kinds
from cncp.pools import counts, former_pools, guarded
from cncp.pools.base import Pool
from cncp.pools.former_pools import Former, Table
from cncp.pools.guarded import Guarded

PROVIDERS: Kinds[Pool] = Kinds(
    "provider",
    "cncp.pools",
    Pool,  # type: ignore[type-abstract]  # its subclasses are what is found
    {
        HOSTS: "cncp.pools.hosts:Hosts",
        "vm": "cncp.pools.vm.machines:Machines",
        "netboot": "cncp.pools.netboot.netboot_pool:NetbootPool",
        "ec2": "cncp.pools.cloud.cloud_kinds:Ec2Pool",
        "openstack": "cncp.pools.cloud.cloud_kinds:OpenStackPool",
    },
)


def looked_after(inventory: Inventory | None) -> tuple[PoolTable, ...]:
    """Return the pools that another machine, the controller's, makes and looks after. Raises UsageError.

    It has the whole cluster then: it is refused where it could not reach the rest.
    """
    if inventory is None or inventory.controller.local:
        return ()
    theirs = tuple(pool for pool in inventory.pools if PROVIDERS.find(pool.provider, pool.where).at_controller)
    others = [pool for pool in inventory.pools if pool not in theirs]
    if theirs and others:
        head = inventory.controller.name
        raise UsageError(
            f"{theirs[0].where}: {head} looks after it, and does not know how to reach that of {others[0].where}",
            f"write a file without controller on {head}, and run cncp up there",
        )
    return theirs


def pool(table: PoolTable, name: str, home: Path) -> Pool:
    """Return the pool of a table. Raises CncpError, and changes nothing."""
    made = guarded.read(PROVIDERS.find(table.provider, table.where), table, name, home)
    return made if table.provider in PROVIDERS.ours else Guarded(made)


def former(pools: Collection[Pool], home: Path) -> tuple[Former, ...]:
    """Return the pools that have made something, and are none of these any more. Raises CncpError.

    Those whose kind is gone, or has other keys now, are among them.
    """
    named = {pool.name for pool in pools}
    return tuple(_former(name, table, home) for name, table in former_pools.kept(home).items() if name not in named)


def _former(name: str, kept: Table, home: Path) -> Former:
    table = PoolTable(kept.provider, kept.values, f"the former pool {name}", Path(kept.folder))
    try:
        inner: Pool | CncpError = pool(table, name, home)
    except CncpError as error:
        inner = error
    return Former(table, name, home, inner)


def pools(inventory: Inventory | None, home: Path) -> tuple[Pool, ...]:
    """Return the pools of a cluster in the order of the file. Raises UsageError, and changes nothing.

    ``home`` is our folder (CNCP_HOME). The second of a provider has a number in its name. Those that are looked after
    elsewhere are none of this machine's.
    """
    theirs = looked_after(inventory)
    tables = [pool for pool in inventory.pools if pool not in theirs] if inventory else []
    seen: set[str] = set()
    for table in tables:
        if PROVIDERS.find(table.provider, table.where).only and table.provider in seen:
            raise UsageError(f"{table.where}: there is a pool of {table.provider} already", "make the two one")
        seen.add(table.provider)
    found = [pool(table, name, home) for table, name in zip(tables, former_pools.names(tables, home), strict=True)]
    counts.restore(found, home)
    return tuple(found)
