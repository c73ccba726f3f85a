"""Servers of an OpenStack, by openstacksdk. What it reads is read: clouds.yaml, secure.yaml, OS_* variables.

Facts: https://docs.openstack.org/api-ref/compute/
"""

from __future__ import annotations

import base64
import contextlib
import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from cncp.errors import CncpError, UsageError
from cncp.pools.cloud import provider
from cncp.pools.cloud.provider import (
    AGAIN,
    BATCH,
    CLUSTER,
    Instance,
    Limits,
    NoCapacity,
    Order,
    QuotaExceeded,
    State,
    Template,
    Throttled,
    Unsure,
)
from cncp.rendezvous.stores.openstack_login import login

_STATES: Mapping[str, State] = {
    "BUILD": "requested",
    "DELETED": "gone",
    "ERROR": "failed",
    "PAUSED": "stopped",
    "SHELVED": "stopped",
    "SHELVED_OFFLOADED": "stopped",
    "SHUTOFF": "stopped",
    "SOFT_DELETED": "gone",
    "SUSPENDED": "stopped",
}
"""Others, such as REBOOT, are states of a server that runs, or soon does again."""

_TOO_MUCH = ("full", "larger than", "over limit", "quota")
"""Words of glance's where it has no room for an image; nova says with the same status that there are too many calls."""


class OpenStack:
    """A project of an OpenStack, and what is to be made there."""

    def __init__(self, site: Mapping[str, str], template: Template) -> None:
        """``site`` has ``cloud``, a name in clouds.yaml, and ``region``; "" is what openstacksdk takes by itself."""
        self._template = template
        self._sdk = provider.library("openstack", "openstacksdk", "openstack")
        named = {"cloud": site.get("cloud") or None, "region_name": site.get("region") or None}
        self._cloud = login(self._sdk, {key: value for key, value in named.items() if value}, "OpenStack")
        config = self._cloud.config
        self.site: Mapping[str, str] = {**site, "region": config.get_region_name() or ""}
        self.where = " in ".join(word for word in (f"OpenStack {config.name}", self.site["region"]) if word)
        self.zones: Sequence[str] = template.zones

    # What there is ----------------------------------------------------------

    def check(self) -> None:
        """Log in, and look for image, flavor and network. Raises CncpError."""
        self._image, self._flavor, self._networks  # noqa: B018  # each raises where it is not there

    @functools.cached_property
    def _image(self) -> Any:
        return self._named(
            "image", self._template.image, lambda name: self._cloud.image.find_image(name, ignore_missing=False)
        )

    @functools.cached_property
    def _flavor(self) -> Any:
        return self._named(
            "flavor", self._template.flavor, lambda name: self._cloud.compute.find_flavor(name, ignore_missing=False)
        )

    @functools.cached_property
    def _networks(self) -> Any:
        """Return networks as nova wants them: "auto" takes the only one there is, "none" makes servers without."""
        name = self._template.network or "auto"
        if name in ("auto", "none"):
            return name
        found = self._named("network", name, lambda name: self._cloud.network.find_network(name, ignore_missing=False))
        return [{"uuid": found.id}]

    def _named(self, noun: str, name: str, find: Callable[[str], Any]) -> Any:
        try:
            with self._errors():
                return find(name)
        except _Several:
            raise UsageError(f"{self.where} has several of the {noun} {name!r}", "give its id") from None
        except _NotFound:
            raise UsageError(
                f"{self.where} has no {noun} {name!r}", f"see what it has: openstack {noun} list"
            ) from None

    def limits(self) -> Limits:
        """Return what the project's quota leaves of instances, cores and memory."""
        with self._errors():
            absolute = self._cloud.compute.get_limits().absolute
        flavor = self._flavor
        known = {
            "instances": (absolute.instances, absolute.instances_used, 1),
            "cores": (absolute.total_cores, absolute.total_cores_used, flavor.vcpus),
            "MB of memory": (absolute.total_ram, absolute.total_ram_used, flavor.ram),
        }
        # -1 is no limit.
        told = {resource: quota for resource, quota in known.items() if quota[0] is not None and quota[0] >= 0}
        return Limits(
            {resource: allowed - (used or 0) for resource, (allowed, used, _) in told.items()},
            {resource: needed for resource, (_, _, needed) in told.items()},
        )

    def instances(self, tags: Mapping[str, str]) -> Sequence[Instance]:
        """Return all that have these tags: servers of ours are looked through, which their names tell from others."""
        begin = f"^cncp-{tags[CLUSTER][:8]}" if CLUSTER in tags else "^cncp-"
        with self._errors():
            servers = list(self._cloud.compute.servers(details=True, name=begin))
        wanted = [server for server in servers if tags.items() <= (server.metadata or {}).items()]
        return [self._instance(self._explained(server)) for server in wanted]

    def _explained(self, server: Any) -> Any:
        """Return a server with its fault, which lists leave out of those that never had a host."""
        if server.status == "ERROR" and not server.fault:
            with contextlib.suppress(CncpError), self._errors():
                return self._cloud.compute.get_server(server.id)
        return server

    def console(self, id: str) -> str:  # noqa: A002
        """Return the last lines that a server has written, as far as its hypervisor keeps them."""
        try:
            with self._errors():
                answer = self._cloud.compute.get_server_console_output(id, length=200)
        except CncpError:
            return ""
        return str((answer or {}).get("output") or "")

    # What is made and ended -------------------------------------------------

    def create(self, order: Order) -> Sequence[Instance]:
        """Make servers, as many as the quota has room for; where there is no host for them they fail later."""
        words: dict[str, Any] = {
            "name": f"cncp-{order.tags[CLUSTER][:8]}-{order.batch[:8]}",
            "image_id": self._image.id,
            "flavor_id": self._flavor.id,
            "networks": self._networks,
            "user_data": base64.b64encode(order.user_data.encode()).decode(),
            "metadata": dict(order.tags),
            "min_count": 1,
            "max_count": order.count,
        }
        if order.zone:
            words["availability_zone"] = order.zone
        if self._template.key:
            words["key_name"] = self._template.key
        if self._template.groups:
            words["security_groups"] = [{"name": name} for name in self._template.groups]
        with self._errors():
            self._cloud.compute.create_server(**words)
        # The answer names one of them. They are made by now, whatever comes of the question which.
        try:
            return self.instances({CLUSTER: order.tags[CLUSTER], BATCH: order.batch})
        except CncpError as error:
            raise Unsure(error.message, AGAIN) from None

    def delete(self, ids: Collection[str]) -> None:
        """Delete servers."""
        for name in sorted(ids):
            with self._errors():
                self._cloud.compute.delete_server(name, ignore_missing=True)

    def tidy(self, cluster: str) -> bool:  # as of every provider
        """Nothing is made besides servers."""
        return True

    # In our words -----------------------------------------------------------

    def _instance(self, server: Any) -> Instance:
        state: State = "ending" if server.task_state == "deleting" else _STATES.get(server.status, "running")
        tags = {str(key): str(value) for key, value in (server.metadata or {}).items()}
        fault = server.fault or {}
        addresses = [
            port["addr"] for network in (server.addresses or {}).values() for port in network if "addr" in port
        ]
        return Instance(
            id=server.id,
            name=server.hostname or server.name,
            state=state,
            cause=str(fault.get("message", "")).strip() or ("it is switched off" if state == "stopped" else ""),
            since=provider.seconds(server.created_at),
            address=addresses[0] if addresses else "",
            zone=server.availability_zone or "",
            flavor=str((server.flavor or {}).get("original_name") or self._template.flavor),
            price=provider.price_in(tags),
            tags=tags,
        )

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Have errors of openstacksdk as ours."""
        from keystoneauth1 import exceptions as of_session

        errors = self._sdk.exceptions
        try:
            yield
        except errors.DuplicateResource as error:
            raise _Several(str(error), "") from None
        except errors.NotFoundException as error:
            # Also where nothing of a name is found, which is no answer of a server's.
            raise _NotFound(f"{self.where}: {error}", AGAIN) from None
        except errors.HttpException as error:
            raise self._refused(error) from None
        except (of_session.MissingRequiredOptions, of_session.Unauthorized, errors.ConfigException) as error:
            raise CncpError(
                f"{self.where} does not let us in: {error}", "check clouds.yaml, or the OS_* variables"
            ) from None
        except (of_session.ConnectTimeout, of_session.RequestTimeout) as error:
            raise Unsure(f"{self.where} gave no answer: {error}", AGAIN) from None
        except of_session.ConnectFailure as error:
            raise Unsure(f"{self.where} cannot be reached: {error}", "check the network, then run this again") from None
        except (errors.SDKException, of_session.ClientException) as error:
            raise CncpError(f"{self.where}: {error}", "check clouds.yaml, and what this project offers") from None

    def _refused(self, error: Any) -> CncpError:
        status = int(error.status_code or 0)
        told = str(error.details or error.message or error)
        message = f"{self.where}: {told}"
        headers = getattr(getattr(error, "response", None), "headers", {})
        kinds: Sequence[tuple[bool, Callable[[], CncpError]]] = (
            (
                status == 413 and any(word in told.lower() for word in _TOO_MUCH),
                lambda: QuotaExceeded(message, "take away others, make it smaller, or have the quota raised"),
            ),
            (status in (413, 429), lambda: Throttled(message, _number(headers.get("Retry-After")))),
            (
                status == 403 and "quota" in told.lower(),
                lambda: QuotaExceeded(message, "end others, or have the quota raised"),
            ),
            (
                "no valid host" in told.lower(),
                lambda: NoCapacity(message, "name more zones, or try another flavor"),
            ),
            (status == 404, lambda: _NotFound(message, AGAIN)),
            (status in (401, 403), lambda: CncpError(message, "see what this account may: openstack token issue")),
            (status >= 500, lambda: Unsure(message, AGAIN)),
        )
        found = next((kind() for true, kind in kinds if true), None)
        return found or CncpError(message, "change what the pool asks for, then run this again")


class _NotFound(CncpError):
    """Something that is not there."""


class _Several(CncpError):
    """A name that several have."""


def _number(text: str | None) -> float:
    return float(text) if text and text.isdigit() else 0.0
