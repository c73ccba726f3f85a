"""Which of a cluster's settings are the controller's machine's, and which those of a machine of engines.

Standard library only, as all that is read before there is a virtualenv.
"""

from __future__ import annotations

from collections.abc import Mapping

from cncp.config.inventory import Inventory
from cncp.config.parsers import Value
from cncp.config.settings import Layer, layer, merged

OF_CONTROLLER = ("listen", "external", "ports", "database", "jupyter", "role")
"""Settings that are nothing to a machine of engines."""

_OF_ENGINES = ("engines", "threads", "pin", "memory")


def own_layer(values: Mapping[str, object], inventory: Inventory, origin: str) -> Layer:
    """Return the settings of the controller's machine in a cluster of several.

    It runs engines only if a pool names it. Unless the file says where, it listens for others if any
    of them reaches it directly.
    """
    mine = inventory.on_controller
    shared = values if mine else {key: value for key, value in values.items() if key not in _OF_ENGINES}
    others = any(pool.direct for pool in inventory.provided) or any(
        host is not mine and host.direct for host in inventory.hosts
    )
    implied = {"role": "compute" if mine else "controller", **({"listen": "all"} if others else {})}
    checked = layer(origin, {**implied, **shared})
    return Layer(origin, merged(checked.values, mine.settings if mine else {}))


def without_engines(given: Layer) -> Layer:
    """Return settings without those of engines."""
    return Layer(given.origin, {key: value for key, value in given.values.items() if key not in _OF_ENGINES})


def of_engines(values: Mapping[str, Value]) -> dict[str, Value]:
    """Return what of a cluster's settings concerns a machine of engines."""
    return {**{key: value for key, value in values.items() if key not in OF_CONTROLLER}, "role": "engine"}
