"""Swift, the object store of OpenStack: swift://CONTAINER/PREFIX, by openstacksdk, which is imported here alone.

Who we are is what openstacksdk reads: clouds.yaml, the OS_* variables, or a file of such words that ``credentials``
names. Members get temporary URLs, signed with a key that the container keeps: its own, or one that we give it where it
has none. openstacksdk signs with SHA-1, which newer Swifts do not take; so they are signed here.

Facts: https://docs.openstack.org/api-ref/object-store/ and .../swift/latest/api/temporary_url_middleware.html
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from cncp import records
from cncp.errors import CncpError, UsageError, shown
from cncp.records import Misfit
from cncp.rendezvous.fetching import Answer, fetch
from cncp.rendezvous.store import Exists, StoreError, check_key, insist_on_lifetime
from cncp.rendezvous.stores.credentials import said
from cncp.rendezvous.stores.openstack_login import login
from cncp.waiting import wait_until

_KEYS = ("x-container-meta-temp-url-key", "x-container-meta-temp-url-key-2")
"""Headers of a container that hold what URLs are signed with; only who owns the container is shown them."""

_SETTLES = 75.0
"""Seconds in which all of Swift knows a new key: what it remembers of a container is a minute old at most."""

_RETRIES: Mapping[str, Any] = {
    "connect_retries": 2,
    "status_code_retries": 2,
    "retriable_status_codes": [429, 500, 502, 503, 504],
}


@dataclass(frozen=True)
class _Listed:
    """An entry of a container's list."""

    name: str


class SwiftStore:
    """A container, or what is below a prefix of it.

    Swift keeps the newest of what was written, and no PUT can be bound to what is there: the serials of documents are
    their owner's, who alone writes, and never read from here. Lists lag behind; single objects are asked for.
    """

    def __init__(self, cloud: Any, container: str, prefix: str, now: Callable[[], float] = time.time) -> None:
        """``cloud`` is a connection of openstacksdk."""
        self._cloud, self._now = cloud, now
        self._container = f"/{container}"
        self._prefix = f"{prefix}/" if prefix else ""
        self._named = f"the container {container} of OpenStack {cloud.config.name}"
        with self._failures():
            self._place = str(cloud.object_store.get_endpoint() or "").rstrip("/")
        if not self._place:
            raise self._nowhere()
        self._key = self._own_key()

    @classmethod
    def at(cls, url: str, options: Mapping[str, str]) -> SwiftStore:
        """Return the store at a URL. Raises CncpError."""
        try:
            import openstack
        except ModuleNotFoundError:
            raise CncpError(
                f"rendezvous: store = {url!r} needs the package openstacksdk",
                "install it: cncp pip install openstacksdk, or pip install cncp[openstack]",
            ) from None
        words = said(options.get("credentials", ""), ("OS",))
        given: dict[str, Any] = {name.lower(): value for name, value in words.items()}
        if words:
            # The file says all of it, or which cloud.
            given |= {"load_envvars": False, "load_yaml_config": "OS_CLOUD" in words or "cloud" in options}
        named = {"cloud": options.get("cloud"), "region_name": options.get("region")}
        given |= {name: value for name, value in named.items() if value}
        cloud = login(openstack, given, f"rendezvous: store = {url!r}")
        parts = urlsplit(url)
        return cls(cloud, parts.netloc, parts.path.strip("/"))

    def put(self, key: str, content: bytes, lifetime: int = 0) -> None:
        """Write an object; 202 is said where a newer one is there, by the clocks of Swift's servers."""
        headers = {"X-Delete-After": str(lifetime)} if lifetime else {}
        self._ask("PUT", key, (201,), data=content, headers=headers)

    def create(self, key: str, content: bytes) -> None:
        """Write an object that is not there yet."""
        # Not asked again where no answer comes: the first may have written it.
        answer = self._ask("PUT", key, (201, 412), data=content, headers={"If-None-Match": "*"}, again=False)
        if answer.status_code == 412:
            raise Exists(f"{key} is there already", "use another name")

    def get(self, key: str) -> bytes | None:
        """Return an object, None where there is none: the newest of what Swift's servers have."""
        answer = self._ask("GET", key, (200, 404), headers={"X-Newest": "true"})
        return bytes(answer.content) if answer.status_code == 200 else None

    def has(self, key: str) -> bool:
        """Tell whether an object is there."""
        return int(self._ask("HEAD", key, (200, 404), headers={"X-Newest": "true"}).status_code) == 200

    def delete(self, key: str) -> None:
        """Take an object away."""
        self._ask("DELETE", key, (204, 404))

    def keys(self, prefix: str) -> Sequence[str]:
        """Return the keys that begin so, as far as the list has them by now."""
        found: list[str] = []
        while True:
            last = self._prefix + found[-1] if found else ""
            asked = {"format": "json", "prefix": self._prefix + prefix, "marker": last}
            answer = self._ask("GET", None, (200, 204), params=asked)
            page = self._names(answer.content) if answer.status_code == 200 else []
            if not page:
                return sorted(found)
            if found and page[0] <= found[-1]:
                raise self._no_list("it begins again and again")
            found += page

    def url(self, key: str, lifetime: int) -> str:
        """Return where it can be fetched from for a while."""
        until = int(self._now()) + insist_on_lifetime(lifetime)
        return self._signed(self._path(key), until, self._key)

    # The key of the container -----------------------------------------------

    def _own_key(self) -> str:
        """Return what URLs are signed with. Raises CncpError where no instance could use them."""
        known = self._look()
        if known:
            self._prove(known, 0)
            return known
        # Another of ours may do the same now; what is there in the end counts.
        self._ask("POST", None, (204,), headers={_KEYS[0]: secrets.token_hex(32)})
        made = self._look()
        if not made:
            raise UsageError(
                f"{self._named}: this account may not see the key of its temporary URLs",
                "have an account that owns the container: openstack role add ... swiftoperator, or admin",
            )
        self._prove(made, _SETTLES)
        return made

    def _look(self) -> str:
        """Return the key that the container has, "" without one. Raises UsageError where it is not for us."""
        headers = self._ask("HEAD", None, (200, 204), headers={"X-Newest": "true"}).headers
        readers = [reader.strip() for reader in str(headers.get("x-container-read") or "").split(",")]
        if any(reader.startswith(".r:") and not reader.startswith(".r:-") for reader in readers):
            raise UsageError(
                f"{self._named} is public: whoever knows a name can fetch what is there, for ever",
                f"close it: openstack object store account ... or swift post --read-acl '' {self._container[1:]}",
            )
        return next((str(headers[name]) for name in _KEYS if headers.get(name)), "")

    def _prove(self, key: str, patience: float) -> None:
        """Fetch what is not there: that is said to whoever has a good URL alone. Raises CncpError."""
        url = self._signed(self._path("cncp/none"), int(self._now()) + 600, key)
        answer = wait_until(lambda: fetch(url), patience, 1.0, _served)
        if not _served(answer):
            raise StoreError(
                f"{self._named}: temporary URLs are not served: {answer.why or answer.verdict}",
                "set this machine's clock (timedatectl set-ntp true)"
                if answer.verdict in ("clock", "expired")
                else "this Swift must have its middleware tempurl, and take SHA-256: swift capabilities",
            )

    def _signed(self, path: str, until: int, key: str) -> str:
        """Return a URL for GETs of ``path`` alone, up to ``until``, s since 1970."""
        # Swift signs the whole path as it is decoded, in front of the version too: Ceph's begins with /swift.
        whole = unquote(urlsplit(self._place).path) + path
        signature = hmac.new(key.encode(), f"GET\n{until}\n{whole}".encode(), hashlib.sha256).hexdigest()
        return f"{self._place}{path}?temp_url_sig={signature}&temp_url_expires={until}"

    # How Swift is asked -----------------------------------------------------

    def _ask(self, method: str, key: str | None, good: Collection[int], *, again: bool = True, **words: Any) -> Any:
        """Return one of the answers that are ``good``; None is the container. Raises CncpError for others."""
        path = self._container if key is None else self._path(key)
        with self._failures():
            # Not from a cache that clouds.yaml may ask for: others write as well.
            answer = self._cloud.object_store.request(
                path, method, skip_cache=True, **(_RETRIES if again else {}), **words
            )
        if answer.status_code in good:
            return answer
        raise self._refused(int(answer.status_code), method, key or "what is there")

    def _path(self, key: str) -> str:
        return f"{self._container}/{self._prefix}{check_key(key)}"

    def _refused(self, status: int, method: str, key: str) -> CncpError:
        if status == 404:
            name = self._container[1:]
            return UsageError(
                f"{self._named}: there is no such container", f"make it: openstack container create {name}"
            )
        if status in (401, 403):
            return UsageError(
                f"{self._named}: this account may not {method} {key}: HTTP {status}",
                "have an account that owns the container: openstack role add ... swiftoperator, or admin",
            )
        if status in (202, 409):
            return StoreError(
                f"{self._named}: {key} was written by a clock that is ahead: HTTP {status}",
                "have the clocks of Swift's servers set, then run this again",
            )
        if status in (413, 507):
            return StoreError(f"{self._named}: there is no room for {key}: HTTP {status}", "raise the quota")
        return StoreError(f"{self._named}: {method} {key} failed: HTTP {status}", "run this again when Swift is well")

    def _nowhere(self) -> UsageError:
        return UsageError(
            f"OpenStack {self._cloud.config.name} has no object store, or none in this region",
            "name another cloud or region in [rendezvous]; without store the controller's machine serves",
        )

    def _names(self, content: bytes) -> list[str]:
        """Return the keys of a page of a list. Raises StoreError where it is none."""
        try:
            names = [entry.name for entry in records.read(tuple[_Listed, ...], content, "it")]
        except Misfit as error:
            raise self._no_list(error) from None
        if not all(name.startswith(self._prefix) for name in names):
            raise self._no_list("names that were not asked for")
        return [name.removeprefix(self._prefix) for name in names]

    def _no_list(self, why: object) -> StoreError:
        return StoreError(f"{self._named}: what should be a list is none: {why}", "is this a Swift? See clouds.yaml")

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        """Have errors of openstacksdk as ours."""
        from keystoneauth1 import exceptions as of_session
        from openstack import exceptions

        try:
            yield
        except exceptions.ServiceDisabledException:
            raise self._nowhere() from None
        except (of_session.MissingRequiredOptions, of_session.Unauthorized, exceptions.ConfigException) as error:
            raise UsageError(
                f"{self._named}: we are not let in: {shown(str(error))}",
                "check clouds.yaml, or the OS_* variables, which a service does not have",
            ) from None
        except (of_session.ClientException, exceptions.SDKException) as error:
            raise StoreError(
                f"{self._named}: {shown(str(error))}", "check the network, and cloud and region in [rendezvous]"
            ) from None


def _served(answer: Answer) -> bool:
    """Tell whether it is of a store that has taken the URL for a good one."""
    return answer.verdict == "found" or answer.why.startswith("HTTP 404")
