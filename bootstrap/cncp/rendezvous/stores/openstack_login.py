"""Where an OpenStack is and who we are there, as openstacksdk reads it: for objects and for instances."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cncp.errors import UsageError, shown

_TIMEOUT = 60  # s that a service has to answer


def login(library: Any, given: Mapping[str, Any], subject: str) -> Any:
    """Return a connection, which asks nobody yet; ``library`` is the module openstack, ``subject`` wants it.

    Raises UsageError where clouds.yaml and the variables say too little, or nothing that can be used.
    """
    from keystoneauth1.exceptions import ClientException

    try:
        return library.connect(**given, api_timeout=_TIMEOUT)
    # Of a clouds.yaml of another form it takes for granted what is not there.
    except (library.exceptions.SDKException, ClientException, AttributeError, TypeError, ValueError) as error:
        raise UsageError(
            f"{subject}: {shown(str(error))}",
            "cloud is a name in clouds.yaml; without one the OS_* variables are read, which a service does not have",
        ) from None
