"""Point `instances`: from `cncp up` to the engines of instances that join by themselves, new keys, and back to none.

EC2 is moto's, and its instances are hosts of the lab with a real cloud-init, which install what engines need.
"""

from __future__ import annotations

import base64
import time

from tests.bench import processes
from tests.bench.farm import Farm
from tests.bench.results import Row
from tests.bench.start import Options
from tests.lab.test_cloud_ec2 import Owner, owning

_THEM = "dask-cloudprovider"
_WHY = "its instances install Docker from its vendor and pull an image: the lab reaches neither"
_TIMEOUT = 600.0  # s; many installations at once on few processors take minutes


def instances(farm: Farm, options: Options) -> list[Row]:
    """Measure each number of instances, with an engine each."""
    rows: list[Row] = []
    with owning(farm.master, farm.lab) as owner:
        # What instances install from is made once.
        _up(farm, owner, 1)
        owner.cncp("down")
        for count in options.instances:
            size = f"{count} instances"
            usable = Row("instances", f"{size} usable", "s", _THEM, skipped=_WHY)
            returned, rotated, stopped = (
                Row("instances", f"{size}: {name}", "s")
                for name in ("cncp up returns", "new keys until usable", "ended")
            )
            given = Row("instances", f"{size}: user-data of one", "bytes", _THEM, skipped=_WHY)
            for _ in range(options.repetitions):
                usable.busy.append(processes.wait_for_quiet(options.patience))
                ready, end = _up(farm, owner, count)
                usable.ours.append(ready)
                returned.ours.append(end)
                given.ours.append(_user_data(owner))
                rotated.ours.append(_rotated(farm, owner, count))
                began = time.monotonic()
                owner.cncp("down")
                stopped.ours.append(time.monotonic() - began)
            rows += [usable, returned, rotated, stopped, given]
    return rows


def _up(farm: Farm, owner: Owner, count: int) -> tuple[float, float]:
    """Bring up so many; return the seconds until their engines compute, and until the command returns."""
    owner.write(count)
    taken = _clock(farm, count, *farm.cncp("up", f"{farm.master.home}/cluster.toml"))
    return taken["usable"], taken["returned"]


def _rotated(farm: Farm, owner: Owner, count: int) -> float:
    """Give the cluster new keys; return the seconds until all engines compute with them, up to 1 s too many."""
    began = time.monotonic()
    owner.cncp("keys.rotate", "--quiet")
    # Asked only now: until then engines answer with the former keys.
    _clock(farm, count, "true")
    return time.monotonic() - began


def _clock(farm: Farm, count: int, *command: str) -> dict[str, float]:
    file = f"{farm.master.home}/.ipython/profile_cncp/security/ipcontroller-client.json"
    return farm.measure("clock", file, str(count), str(_TIMEOUT), *command)


def _user_data(owner: Owner) -> float:
    name = next(iter(owner.region.running))
    data = owner.region.client.describe_instance_attribute(InstanceId=name, Attribute="userData")["UserData"]
    return float(len(base64.b64decode(data["Value"])))
