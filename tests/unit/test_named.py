"""Every module of cncp is named by a unit test of its own package, or what else holds it is said here."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

from .source import CODE, nodes

UNIT = Path(__file__).parent

ELSEWHERE = {
    "api": "install/test_api.py",
    "client.authorize": "lab/test_keys.py",
    "client.background": "lab/test_connect.py",
    "client.copy": "unit/fleet/test_answers.py",
    "client.reach": "lab/test_connect.py",
    "client.remote_profile": "lab/test_keys.py",
    "client.rotate": "lab/test_keys.py",
    "config.python_literals": "unit/config/test_handover.py",
    "console": "unit/fleet/test_answers.py",
    "fleet.host_addresses": "unit/machine/test_firewall.py",
    "fleet.phases.await_engines": "lab/test_fleet.py",
    "fleet.plan": "unit/test_examples.py",
    "fleet.remote_jupyter": "unit/machine/test_jupyter.py",
    "install.bootstrap_tools": "install/test_tools.py",
    "install.bundle_reader": "install/test_bundle.py",
    "install.bytecode": "install/test_sources.py",
    "install.environment": "install/test_sources.py",
    "install.http": "unit/ground/test_surroundings.py",
    "install.packages": "unit/ground/test_surroundings.py",
    "install.privileges": "lab/test_vm.py",
    "install.simple_index": "install/test_tools.py",
    "ipp.engine_uuid": "unit/serve/test_serve.py",
    "ipp.keys": "unit/ground/test_state_files.py",
    "machine.converge.chef": "chef/test_program.py",
    "machine.converge.cinc": "chef/test_cinc.py",
    "machine.login_environment": "unit/ground/test_inheritance.py",
    "machine.ops.attach": "lab/test_attach.py",
    "machine.ops.port_check": "unit/machine/test_checks.py",
    "machine.ops.readiness": "lab/test_matrix.py",
    "machine.ops.summary": "install/test_first_use.py",
    "machine.ops.uninstall": "unit/tasks/test_damage.py",
    "machine.tunnels": "unit/fleet/test_tunnels.py",
    "netboot.blancmange.grub_images": "netboot/test_pxe.py",
    "netboot.blancmange.image_initrd": "netboot/test_pxe.py",
    "netboot.blancmange.initramfs_image": "netboot/test_pxe.py",
    "netboot.blancmange.initramfs_tree": "netboot/test_pxe.py",
    "netboot.service.blancmange_stage": "lab/test_netboot_server.py",
    "netboot.service.dnsmasq_service": "lab/test_netboot_server.py",
    "netboot.service.server_status": "lab/test_netboot_server.py",
    "managed_block": "unit/machine/test_removal.py",
    "patches": "unit/test_patches.py",
    "pools.cloud.ec2": "cloud/test_ec2.py",
    "pools.cloud.ec2_answers": "cloud/test_ec2.py",
    "pools.cloud.ec2_images": "cloud/test_images.py",
    "pools.cloud.openstack": "cloud/test_contract.py",
    "pools.cloud.openstack_images": "cloud/test_images.py",
    "pools.vm.about": "unit/ground/test_state_files.py",
    "pools.vm.accel": "lab/test_vm.py",
    "release.bundle": "install/test_bundle.py",
    "rendezvous.places": "install/test_stores.py",
    "rendezvous.store": "install/test_stores.py",
    "rendezvous.stores.folder": "install/test_stores.py",
    "rendezvous.stores.credentials": "install/test_stores.py",
    "rendezvous.stores.objects": "install/test_stores.py",
    "rendezvous.stores.openstack_login": "install/test_stores.py",
    "rendezvous.stores.swift": "install/test_stores.py",
    "serve.death": "unit/serve/test_death.py",
    "serve.engine": "unit/serve/test_engine.py",
    "serve.jupyter": "unit/machine/test_jupyter.py",
    "serve.pdeathsig": "lab/test_faults.py",
    "serve.results_db": "lab/test_settings.py",
    "serve.tunnel": "lab/test_fleet_tunnels.py",
    "ssh.answers": "unit/fleet/test_answers.py",
    "ssh.askpass": "unit/client/test_access.py",
    "ssh.authorized_keys": "unit/client/test_access.py",
    "ssh.bare_host": "unit/fleet/test_fleet.py",
    "ssh.fabric_group": "install/test_api.py",
    "ssh.keypair": "unit/pools/test_vm.py",
    "ssh.pool": "unit/fleet/test_answers.py",
    "ssh.rpc": "unit/fleet/test_answers.py",
    "ssh.transfer": "unit/fleet/test_hosts.py",
    "ssh.user_key": "unit/client/test_access.py",
    "supervisord": "unit/machine/test_supervisor.py",
    "tasks.attach": "unit/tasks/test_tasks.py",
    "tasks.bundle": "unit/tasks/test_tasks.py",
    "tasks.connect": "unit/tasks/test_tasks.py",
    "tasks.dist": "unit/tasks/test_tasks.py",
    "tasks.firewall": "unit/tasks/test_tasks.py",
    "tasks.hosts": "unit/tasks/test_tasks.py",
    "tasks.image": "netboot/test_mkimg.py",
    "tasks.init": "unit/tasks/test_tasks.py",
    "tasks.join": "lab/test_join.py",
    "tasks.jupyter": "unit/tasks/test_tasks.py",
    "tasks.key_rotation": "unit/tasks/test_tasks.py",
    "tasks.keys": "unit/tasks/test_tasks.py",
    "tasks.options": "unit/tasks/test_tasks.py",
    "tasks.own": "unit/tasks/test_tasks.py",
    "tasks.plan": "unit/tasks/test_tasks.py",
    "tasks.profile": "unit/tasks/test_tasks.py",
    "tasks.vm": "unit/tasks/test_tasks.py",
}
"""What is held by tests of another package, or only by real ones: of machines, installations, Chef."""


def modules() -> Iterator[str]:
    """Yield the names of all modules, without cncp."""
    for path in sorted((CODE / "cncp").rglob("*.py")):
        if path.name not in ("__init__.py", "__main__.py"):
            yield ".".join(path.relative_to(CODE / "cncp").with_suffix("").parts)


def package(module: str) -> str:
    """Return the folder of tests for a module; those at the top are the ground."""
    return module.partition(".")[0] if "." in module else "ground"


@functools.cache
def named(folder: Path) -> set[str]:
    """Return everything of cncp that the tests of a folder import, modules and what is in them."""
    found = set()
    for path in folder.glob("test_*.py"):
        for node in nodes(path):
            if isinstance(node, ast.ImportFrom) and node.module:
                found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            elif isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
    return found


@pytest.mark.parametrize("module", list(modules()))
def test_a_module_is_named_by_a_test_of_its_package(module: str) -> None:
    """So that one finds what holds it; and nothing is listed that is no longer so."""
    assert (f"cncp.{module}" in named(UNIT / package(module))) != (module in ELSEWHERE)


def test_what_holds_it_elsewhere_is_there() -> None:
    """The files of tests that are listed exist, and so do the modules."""
    assert set(ELSEWHERE) <= set(modules())
    assert all((UNIT.parent / place).is_file() for place in ELSEWHERE.values())
