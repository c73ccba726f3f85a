"""EC2 as moto has it, on loopback: with images, types and keys refused that are not there."""

from __future__ import annotations

import contextlib
import logging
import os
import urllib.request
from collections.abc import Iterator
from typing import Any

STRICT = {
    "MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION": "true",
    "MOTO_ENABLE_AMI_VALIDATION": "true",
    "MOTO_ENABLE_KEYPAIR_VALIDATION": "true",
}

KEYS = {"AWS_ACCESS_KEY_ID": "t", "AWS_SECRET_ACCESS_KEY": "t", "AWS_EC2_METADATA_DISABLED": "true"}


@contextlib.contextmanager
def serving(address: str = "127.0.0.1") -> Iterator[str]:
    """Have it answer there for the length of a ``with`` block; yield its URL."""
    os.environ.update(STRICT)
    # Not at the top: it takes seconds to import, which tests that need none of it need not wait.
    from moto.ec2.responses import EC2Response
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    given, registered = EC2Response._get_param, EC2Response.register_image

    def asked(self: Any, param_name: str, if_none: Any = None) -> Any:
        # moto makes MinCount of them; EC2 makes as many as it can, up to MaxCount.
        return given(self, "MaxCount" if param_name == "MinCount" else param_name, if_none)

    def register(self: Any) -> Any:
        # moto makes an image without tags, of a snapshot of its own, whatever is asked for.
        answer: Any = registered(self)
        backend = self.ec2_backend
        made = backend.amis[answer.result["ImageId"]]
        made.add_tags(self._parse_tag_specification().get("image", {}))
        made.ebs_snapshot.from_ami = None
        backend.delete_snapshot(made.ebs_snapshot.id)
        [mapping] = self._get_param("BlockDeviceMappings")
        made.ebs_snapshot = backend.get_snapshot(mapping["Ebs"]["SnapshotId"])
        return answer

    setattr(EC2Response, "_get_param", asked)  # noqa: B010  # a method in the place of another
    setattr(EC2Response, "register_image", register)  # noqa: B010
    server = ThreadedMotoServer(ip_address=address, port=0, verbose=False)
    server.start()
    try:
        _, port = server.get_host_and_port()
        url = f"http://{address}:{port}"
        # All of a process share what moto keeps: instances that a test before had are none of this one's.
        urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/reset", method="POST"), timeout=30).close()
        yield url
    finally:
        server.stop()
        setattr(EC2Response, "_get_param", given)  # noqa: B010
        setattr(EC2Response, "register_image", registered)  # noqa: B010
        for name in STRICT:
            os.environ.pop(name, None)  # a test in between may have restored all variables
