"""Instances of a cloud without a cloud: hosts whose real cloud-init finds what it is given in a folder (NoCloud)."""

from __future__ import annotations

import base64
import contextlib
import functools
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cncp.files import read_bytes

from .command import LabError
from .host import Host
from .nspawn import Lab
from .serve import by_http

if TYPE_CHECKING:
    from typing_extensions import Self

IMAGE = ("cloud-init", "sudo")
"""Packages that an image of a cloud has besides."""

BOOTS = 240.0
"""Seconds of a boot in which cloud-init runs what it was given to its end."""


def instance(make_host: Callable[..., Host], name: str, user_data: str) -> Host:
    """Make a host that boots as an instance of this name with this user-data; it is off until it is booted."""
    host = make_host(name, "bookworm", IMAGE, users=())
    seed = host.root / "var/lib/cloud/seed/nocloud"
    seed.mkdir(parents=True)
    (seed / "user-data").write_text(user_data)
    (seed / "user-data").chmod(0o600)
    (seed / "meta-data").write_text(json.dumps({"instance-id": f"i-{name}", "local-hostname": name}))
    settings = {"network": {"config": "disabled"}, "datasource_list": ["NoCloud", "None"], "preserve_hostname": False}
    (host.root / "etc/cloud/cloud.cfg.d/99-lab.cfg").write_text(json.dumps(settings) + "\n")
    return host


@contextmanager
def serving(folder: Path, address: str) -> Iterator[str]:
    """Serve a folder's files on the bridge, as a store of public objects would; gives its URL."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    handler = functools.partial(Handler, directory=str(folder))
    with by_http(handler, address) as url:
        yield url


class Region:
    """A region of EC2 whose instances are hosts of the lab: moto answers, and this boots what it says runs."""

    def __init__(self, lab: Lab, endpoint: str, region: str) -> None:
        import boto3

        self.client = boto3.client(
            "ec2", endpoint_url=endpoint, region_name=region, aws_access_key_id="t", aws_secret_access_key="t"
        )
        self.hosts: dict[str, Host] = {}
        self.booted: dict[str, float] = {}
        self._lab = lab
        self._own = pytest.MonkeyPatch()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._pool = ThreadPoolExecutor(4)
        self._boots: dict[str, Future[None]] = {}
        self.errors: list[BaseException] = []

    def __enter__(self) -> Self:
        from moto.core.responses import ActionResult
        from moto.ec2.responses.general import General

        def console(response: Any) -> ActionResult:
            name = response._get_param("InstanceId")
            written = read_bytes(self.hosts[name].machine.console) if name in self.hosts else None
            return ActionResult({"InstanceId": name, "Output": base64.b64encode((written or b"")[-65536:]).decode()})

        self._own.setattr(General, "get_console_output", console)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._own.undo()
        for name in list(self.hosts):
            self._off(name)
        self._pool.shutdown()

    def described(self, *states: str) -> dict[str, Mapping[str, Any]]:
        """Return the instances in these states, by id."""
        found = self.client.describe_instances(Filters=[{"Name": "instance-state-name", "Values": list(states)}])
        return {
            document["InstanceId"]: document
            for reservation in found["Reservations"]
            for document in reservation["Instances"]
        }

    @property
    def running(self) -> dict[str, Mapping[str, Any]]:
        """Return those that have to be paid for."""
        return self.described("pending", "running", "stopping", "stopped")

    def image(self) -> str:
        """Return an image that is there."""
        return str(self.client.describe_images(Owners=["amazon"])["Images"][0]["ImageId"])

    def _watch(self) -> None:
        while not self._ended.wait(0.3):
            try:
                self._look()
            except Exception as error:  # noqa: BLE001  # in a thread nobody else would hear of it
                # Told by the test; the region goes on, or what waits for it would do so in vain.
                self.errors.append(error)

    def _look(self) -> None:
        there = self.described("pending", "running")
        for name in there.keys() - self.hosts.keys():
            user_data = self.client.describe_instance_attribute(InstanceId=name, Attribute="userData")["UserData"]
            text = base64.b64decode(user_data.get("Value", "")).decode()
            host = instance(self._lab.host, str(there[name]["PrivateDnsName"]).partition(".")[0], text)
            self.hosts[name] = host
            self._boots[name] = self._pool.submit(self._boot, name, host)
        for name in self.hosts.keys() - there.keys():
            self._off(name)
        # One that has switched itself off is terminated, as InstanceInitiatedShutdownBehavior has it.
        # Others are noted meanwhile.
        off = [name for name in list(self.booted) if name in self.hosts and not self.hosts[name].running]
        if off:
            self.client.terminate_instances(InstanceIds=off)

    def _boot(self, name: str, host: Host) -> None:
        with contextlib.suppress(LabError):
            host.boot(BOOTS)
            self.booted[name] = time.time()

    def _off(self, name: str) -> None:
        # One that is ended as it boots is taken away when it has: half of a boot would come after.
        boot = self._boots.pop(name)
        if not boot.cancel():
            wait([boot])
        self.booted.pop(name, None)
        self._lab.remove(self.hosts.pop(name))
