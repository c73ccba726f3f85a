"""A real OpenStack of one host of the lab: keystone, glance, placement, Swift, and nova with servers of a fake driver.

No hypervisor, no Neutron: nova's virt driver has servers run at once, and 12 lines answer what nova asks of networks.
Swift keeps three copies of all, on one disk. Sources: https://docs.openstack.org/install-guide/,
https://docs.openstack.org/swift/latest/deployment_guide.html, and the units of Debian's packages.
"""

from __future__ import annotations

from pathlib import Path

from .host import Host
from .nspawn import Lab

PACKAGES = (
    "crudini",
    "curl",
    "glance-api",
    "keystone",
    "mariadb-server",
    "memcached",
    "nova-api",
    "nova-compute",
    # Satisfies nova-compute's need of a hypervisor without libvirt and qemu.
    "nova-compute-ironic",
    "nova-conductor",
    "nova-scheduler",
    "placement-api",
    "python3-openstacksdk",
    "python3-pymysql",
    "rabbitmq-server",
    "swift-account",
    "swift-container",
    "swift-object",
    "swift-proxy",
    "uwsgi-plugin-python3",
)

SERVICES = (
    *("keystone", "glance-api", "placement-api"),
    *("nova-api", "nova-api-metadata", "nova-compute", "nova-conductor", "nova-scheduler"),
)

SETUP = Path(__file__).with_name("openstack.sh")

LOGIN = {"username": "admin", "password": "adm", "project_name": "admin", "user_domain_name": "Default"}

GUEST = {**LOGIN, "username": "guest"}
"""Somebody who may see what is in the project, and owns nothing there."""


def boot(lab: Lab) -> Host:
    """Boot and configure it, which takes a minute or two; return the host."""
    host = lab.host("stack", "bookworm", PACKAGES, users=())
    # Those of Swift are started without Debian's units: in one process each, of what is set up below.
    swift = [path.stem for path in (host.root / "lib/systemd/system").glob("swift-*.service")]
    for name in (*SERVICES, *swift):
        (host.root / f"etc/systemd/system/{name}.service").symlink_to("/dev/null")
    host.boot(180)
    for name in SERVICES:
        host.exec(["rm", f"/etc/systemd/system/{name}.service"])
    host.exec(["systemctl", "daemon-reload"])
    host.write("/srv/setup.sh", SETUP.read_text())
    done = host.exec(["bash", "/srv/setup.sh", host.address], check=False, timeout=500)
    assert not done.returncode, (done.stdout[-3000:], done.stderr[-3000:])
    return host
