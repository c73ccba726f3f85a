"""A real object store on this machine: SeaweedFS, which comes from the package index as one binary.

It refuses what S3 refuses: other keys, changed, expired and anonymous requests.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from datetime import timedelta
from pathlib import Path
from typing import Any

import obstore
from obstore.store import S3Store

from cncp.ports import free_block
from cncp.rendezvous.places import opened
from cncp.rendezvous.store import Store
from cncp.waiting import wait_until

SECRET = "ownersecret"
OWNER = {"accessKey": "owner", "secretKey": SECRET}


class Weed:
    """A SeaweedFS at an address of this machine with the bucket ``lab``, and who may use it."""

    def __init__(self, folder: Path, address: str = "127.0.0.1") -> None:
        base, *rest = free_block(8)
        self.endpoint = f"http://{address}:{base}"
        self.credentials = self.keys(folder, "owner", SECRET)
        identity = {"name": "owner", "credentials": [OWNER], "actions": ["Admin", "Read", "Write", "List"]}
        (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        # Left alone, gRPC takes ports 10,000 above: there Linux gives them to whoever calls out.
        names = (f"{part}.port{kind}" for kind in ("", ".grpc") for part in ("s3", "master", "volume", "filer"))
        ports = [f"-{name}={port}" for name, port in zip(names, (base, *rest), strict=True)]
        argv = [
            # It ends with the tests, however they do.
            *("setpriv", "--pdeathsig", "KILL"),
            str(Path(sys.executable).parent / "weed"),
            "server",
            f"-ip={address}",
            f"-ip.bind={address}",
            f"-dir={folder}",
            "-master.volumeSizeLimitMB=64",
            "-master.volumePreallocate=false",
            "-master.telemetry=false",
            "-volume.max=50",
            "-s3",
            # These have the same ports in each of several that run at the same time.
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            f"-s3.config={folder / 's3.json'}",
            *ports,
        ]
        self.log = folder / "weed.log"
        self._argv = argv
        self.start()
        self.make("lab")

    def start(self) -> None:
        """Start it, also again, with what it held."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._argv, stdout=log, stderr=log, start_new_session=True)
        wait_until(lambda: self._process.poll() is not None or self._ready(), 60, 0.2)
        assert self._process.poll() is None, self.log.read_text()[-4000:]

    @staticmethod
    def keys(folder: Path, name: str, secret: str) -> str:
        """Write a file of credentials; return its path."""
        path = folder / f"{name}-{len(secret)}.env"
        path.write_text(f"AWS_ACCESS_KEY_ID={name}\nexport AWS_SECRET_ACCESS_KEY='{secret}'\n")
        path.chmod(0o600)
        return str(path)

    def _ready(self) -> bool:
        try:
            urllib.request.urlopen(self.endpoint, timeout=1).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def make(self, bucket: str) -> None:
        """Make a bucket, by a PUT that is signed as any other."""
        options: Any = {"client_options": {"allow_http": True}, "virtual_hosted_style_request": False}
        signer = S3Store(
            bucket,
            endpoint=self.endpoint,
            region="us-east-1",
            **options,
            access_key_id="owner",
            secret_access_key=SECRET,
        )
        signed = obstore.sign(signer, "PUT", "", timedelta(seconds=60))
        urllib.request.urlopen(urllib.request.Request(signed, method="PUT"), timeout=30).close()

    def store(self, url: str, credentials: str) -> Store:
        """Return a store with these credentials."""
        return opened(url, {"endpoint": self.endpoint, "credentials": credentials})

    def close(self) -> None:
        """End it; asked to, it takes its time."""
        self._process.kill()
        self._process.wait()
