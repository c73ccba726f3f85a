"""Variables of ours that are no settings of the cluster. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping

from cncp.errors import UsageError

OTHER_VARIABLES = {
    "CNCP_CHEF_INSTALL": "no: never install Cinc, whoever asks",
    "CNCP_DEBUG": "true: show each command that is run, where, for how long and how it ended",
    "CNCP_FILE": "path of cluster.toml",
    "CNCP_FORCE": "true: go on although engines are busy; their tasks are lost",
    "CNCP_FORGET": "true: leave out what earlier command lines said",
    "CNCP_HOME": "folder for the virtualenv and all state (~/.local/share/cncp)",
    "CNCP_INSTALL_ONLY": "true: end when the virtualenv is there",
    "CNCP_JSON": "true: print the result as JSON",
    "CNCP_OFFLINE": "bundle to install from instead of any network",
    "CNCP_OFFLINE_DIGEST": "SHA-256 that the bundle must have",
    "CNCP_PLAIN_URL": "true: take code from a plain http:// or git:// URL, for which nobody vouches",
    "CNCP_PYTHON": "Python to build the virtualenv with",
    "CNCP_QUIET": "true: print no progress",
    "CNCP_REF": "branch, tag or commit of the code that a lone baremetal.sh gets",
    "CNCP_REPO_URL": "where a lone baremetal.sh gets the code",
    "CNCP_USER": "account the cluster runs as, where root sets it up",
    "CNCP_VERBOSE": "true: say how long each phase takes",
    "CNCP_WAIT": "seconds to wait for engines that are busy",
}
"""Variables of ours that are not settings of the cluster."""

VM_VARIABLES = {
    "CNCP_VM_BOX": "the box (cncp-compute)",
    "CNCP_VM_BUNDLE": "bundle for machines without a network",
    "CNCP_VM_CORES": "cores of each machine (1)",
    "CNCP_VM_COUNT": "how many machines (1)",
    "CNCP_VM_DRIVER": "kvm, or qemu where KVM does not run guests",
    "CNCP_VM_HOME": "folder of the virtual machines (~/.local/share/cncp-vm)",
    "CNCP_VM_MEMORY": "MiB of each machine (1024)",
    "CNCP_VM_NETWORK": "first three numbers of the private network (192.168.93)",
    "CNCP_VM_PROVISIONER": "baremetal or chef_solo",
}
"""Those of virtual machines; all but the folder are read by vm/compute/Vagrantfile."""

INTERNAL = {"CNCP_BEGAN", "CNCP_BY_ROOT", "CNCP_HERE", "CNCP_INSTANCE", "CNCP_ROOT"}
"""Variables by which baremetal.sh, stage0 and `cncp up`, here and on other hosts, hand things to one another."""


def switched(environment: Mapping[str, str], name: str) -> bool:
    """Tell whether a variable of ours that is on or off is on. Raises UsageError."""
    value = environment.get(name, "").lower()
    if value in ("", "0", "false", "no", "off"):
        return False
    if value in ("1", "true", "yes", "on"):
        return True
    raise UsageError(f"environment: {name} = {environment[name]!r} is not possible", f"{name} must be true or false")
