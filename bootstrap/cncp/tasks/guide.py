"""All verbs of ``cncp`` in groups: what each does in a few words, and how it is used. Imports nothing.

Help, lists, completion and suggestions are made of this table. A test holds that every verb has its
place here, and that every example is a command line that can be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """A verb: ``brief`` goes on after "this would"; the first of the examples is the usual one."""

    brief: str
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """Verbs that belong together; those of a ``short`` group are named in the help, but not explained."""

    verbs: Mapping[str, Entry]
    short: bool = False
    hidden: bool = False


GROUPS: Mapping[str, Group] = {
    "Use": Group(
        {
            "up": Entry(
                "bring the cluster up, and wait until its engines answer",
                ("cncp up", "cncp up --engines 4 --threads 2"),
            ),
            "status": Entry("show every service and engine", ("cncp status", "cncp status --json")),
            "run": Entry(
                "run a script with the cluster's Python", ("cncp run first.py", "cncp run first.py --size 100")
            ),
            "shell": Entry(
                "open a shell with the cluster's Python first", ("cncp shell", "cncp shell -c 'python first.py'")
            ),
            "python": Entry("run the cluster's Python", ("cncp python", "cncp python -m timeit pass")),
            "pip": Entry("install packages on all hosts", ("cncp pip install numpy", "cncp pip list")),
            "logs": Entry(
                "show logs, all or those of a service", ("cncp logs engine-0", "cncp logs engine-0 --follow")
            ),
        }
    ),
    "Mend": Group(
        {
            "check": Entry("say what is wrong and what to do about it", ("cncp check", "cncp check --from-hosts")),
            "restart": Entry("restart all services, or some", ("cncp restart engine-1", "cncp restart")),
            "interrupt": Entry(
                "end what an engine computes; variables stay", ("cncp interrupt engine-1", "cncp interrupt --all")
            ),
            "console": Entry(
                "open a prompt in a running engine", ("cncp console engine-1", "cncp console node7/engine-0")
            ),
            "attach": Entry("show a service at work", ("cncp attach engine-0", "cncp attach")),
        }
    ),
    "Change": Group(
        {
            "scale": Entry("run another number of engines", ("cncp scale 4", "cncp scale 2 --wait 600")),
            "plan": Entry("show what up would change", ("cncp plan", "cncp plan --engines 4")),
            "down": Entry("stop everything until the next up", ("cncp down", "cncp down --limit gold3")),
            "uninstall": Entry("stop everything and remove it", ("cncp uninstall", "cncp uninstall --limit gold3")),
        }
    ),
    "Many machines": Group(
        {
            "init": Entry("print a cluster.toml for hosts", ("cncp init gold[2-7] silver1", "cncp init gold2")),
            "invite": Entry(
                "print a line by which any machine joins", ("cncp invite", "cncp invite --hours 8 --engines 4")
            ),
            "join": Entry("join a cluster elsewhere", ("cncp join -", "cncp join seed.json")),
            "hosts.run": Entry(
                "run a command on all hosts", ("cncp hosts.run -- uname -r", "cncp hosts.run --hosts gold2 -- uptime")
            ),
            "hosts.put": Entry(
                "copy a file to all hosts",
                ("cncp hosts.put data.h5 scratch/", "cncp hosts.put --force data.h5 scratch/"),
            ),
            "hosts.get": Entry(
                "copy a file from all hosts",
                ("cncp hosts.get scratch/results all", "cncp hosts.get --limit gold2 scratch/results all"),
            ),
            "hosts.facts": Entry(
                "show hardware, systems and users of all hosts", ("cncp hosts.facts", "cncp hosts.facts --cached --csv")
            ),
            "firewall": Entry(
                "print firewall rules for the ports in use", ("cncp firewall", "cncp firewall --kind ufw")
            ),
            "profile.export": Entry(
                "write the cluster's description to a file",
                ("cncp profile.export", "cncp profile.export --output p.json"),
            ),
            "profile.import": Entry(
                "make a cluster.toml from a profile",
                ("cncp profile.import cncp-profile.json", "cncp profile.import ~/.ipython/profile_gold"),
            ),
        },
        short=True,
    ),
    "Jupyter": Group(
        {
            "jupyter": Entry("run JupyterLab and open it", ("cncp jupyter", "cncp jupyter --no-browser")),
            "jupyter.up": Entry("run JupyterLab from now on", ("cncp jupyter.up", "cncp jupyter.up --quiet")),
            "jupyter.down": Entry("stop JupyterLab", ("cncp jupyter.down", "cncp jupyter.down --quiet")),
            "jupyter.open": Entry("open JupyterLab", ("cncp jupyter.open", "cncp jupyter.open --host node7")),
            "jupyter.token": Entry("print the token it asks for", ("cncp jupyter.token", "cncp jupyter.token --json")),
        },
        short=True,
    ),
    "Keys": Group(
        {
            "keys.copy": Entry(
                "fetch what a client needs to this machine",
                ("cncp keys.copy node7", "cncp keys.copy --host ada@node7 --as work"),
            ),
            "connect": Entry(
                "reach a controller through ssh",
                ("cncp connect --host node7", "cncp connect --host node7 --background", "cncp connect --stop"),
            ),
            "keys.show": Entry("show whose keys are here", ("cncp keys.show", "cncp keys.show --profile cncp")),
            "keys.rotate": Entry(
                "make new keys once all tasks are done", ("cncp keys.rotate", "cncp keys.rotate --wait 600")
            ),
            "keys.revoke": Entry("make all keys void at once", ("cncp keys.revoke", "cncp keys.revoke --host gold3")),
            "keys.generate": Entry(
                "make an ssh key for cncp", ("cncp keys.generate", "cncp keys.generate --no-passphrase")
            ),
            "keys.authorize": Entry(
                "have hosts let that key in", ("cncp keys.authorize --hosts gold[2-7]", "cncp keys.authorize")
            ),
        },
        short=True,
    ),
    "Virtual machines": Group(
        {
            "vm.up": Entry("make machines and a cluster of them", ("cncp vm.up --count 3", "cncp vm.up")),
            "vm.status": Entry("show the machines", ("cncp vm.status", "cncp vm.status --json")),
            "vm.ssh": Entry("log in to a machine", ("cncp vm.ssh", "cncp vm.ssh --name cncp-vm2")),
            "vm.down": Entry("shut the machines down", ("cncp vm.down", "cncp vm.down --quiet")),
            "vm.destroy": Entry("take the machines away", ("cncp vm.destroy", "cncp vm.destroy --quiet")),
            "vm.package": Entry(
                "make an image of a machine to give away", ("cncp vm.package", "cncp vm.package --output package")
            ),
        },
        short=True,
    ),
    "Clouds": Group(
        {
            "cloud.list": Entry(
                "show your instances and what they cost", ("cncp cloud.list", "cncp cloud.list --json")
            ),
            "cloud.sweep": Entry(
                "end instances of yours that nobody wants", ("cncp cloud.sweep", "cncp cloud.sweep --images")
            ),
            "cloud.image": Entry(
                "upload an image whose instances install nothing",
                ("cncp cloud.image package/cncp-compute.qcow2", "cncp cloud.image --pool ec2"),
            ),
            "cloud.tend": Entry(
                "make and end instances as there is work; done once a minute by itself",
                ("cncp cloud.tend", "cncp cloud.tend --quiet"),
            ),
            "cloud.save": Entry(
                "put results into the cluster's store",
                ("cncp cloud.save results", "cncp cloud.save results --name run-7"),
            ),
            "cloud.fetch": Entry("bring results back from the store", ("cncp cloud.fetch results", "cncp cloud.fetch")),
        },
        short=True,
    ),
    "Netboot": Group(
        {
            "netboot.up": Entry(
                "run the server that nodes boot from",
                ("cncp netboot.up --interface eth1", "cncp netboot.up --dhcp proxy --owner slurm"),
            ),
            "netboot.status": Entry(
                "show that server and where its nodes are", ("cncp netboot.status", "cncp netboot.status --json")
            ),
            "netboot.down": Entry("stop that server", ("cncp netboot.down", "cncp netboot.down --remove")),
            "image.make": Entry(
                "make an image that nodes are put into",
                (
                    "cncp image.make compute-1-0",
                    "cncp image.make compute-1-1 --packages slurmd,numactl",
                    "cncp image.make compute-2-0 --host node7 --format squashfs",
                ),
            ),
            "image.list": Entry("show the images", ("cncp image.list", "cncp image.list --json")),
            "image.check": Entry(
                "hold images against their signatures", ("cncp image.check", "cncp image.check compute-1-0")
            ),
            "image.remove": Entry("take an image away", ("cncp image.remove compute-1-0",)),
            "node.list": Entry("show nodes that boot from the network", ("cncp node.list", "cncp node.list --json")),
            "node.accept": Entry(
                "vouch for nodes, and name them",
                ("cncp node.accept node-525400000001 --name n1", "cncp node.accept n[1-4]"),
            ),
            "node.again": Entry("have nodes begin anew", ("cncp node.again n1", "cncp node.again n[1-4]")),
            "node.forget": Entry("forget nodes", ("cncp node.forget n1", "cncp node.forget n[1-4]")),
            "node.trace": Entry("show what happened to a node", ("cncp node.trace n1", "cncp node.trace n1 --follow")),
        },
        short=True,
    ),
    "For developers": Group(
        {
            "vm.box": Entry("make the base image of machines", ("cncp vm.box", "cncp vm.box --output cncp-base.box")),
            "bundle.make": Entry(
                "write one file to install from offline", ("cncp bundle.make", "cncp bundle.make --pythons 3.11,3.13")
            ),
            "dist.script": Entry(
                "write a baremetal.sh that knows where its code is",
                (
                    "cncp dist.script --url https://example.org/lab/cncp.git",
                    "cncp dist.script --url https://example.org/lab/cncp.git --ref v1",
                ),
            ),
            "dist.options": Entry("bring the help of baremetal.sh up to date", ("cncp dist.options",)),
        },
        short=True,
        hidden=True,
    ),
}

VERBS: Mapping[str, Entry] = {name: entry for group in GROUPS.values() for name, entry in group.verbs.items()}

ALIASES: Mapping[str, str] = {
    "jupyter.lab": "jupyter",
    "log": "logs",
    "ls": "status",
    "ps": "status",
    "start": "up",
    "stop": "down",
}
"""Other words that do the same."""

ELSEWHERE: Mapping[str, str] = {
    "cancel": "end the task of an engine: cncp interrupt engine-0",
    "dashboard": "a table: cncp status; in a browser: cncp jupyter",
    "delete": "did you mean cncp uninstall? It removes everything",
    "deploy": "did you mean cncp up?",
    "destroy": "did you mean cncp uninstall? It removes everything",
    "doctor": "did you mean cncp check?",
    "exec": "with the cluster's Python: cncp run SCRIPT; on all hosts: cncp hosts.run -- COMMAND",
    "info": "did you mean cncp status?",
    "install": "it is installed; bring it up: cncp up",
    "kill": "end a task: cncp interrupt engine-0; stop everything: cncp down",
    "lab": "did you mean cncp jupyter?",
    "list": "engines: cncp status; all verbs: cncp --list",
    "notebook": "did you mean cncp jupyter?",
    "remove": "did you mean cncp uninstall? It removes everything",
    "rm": "did you mean cncp uninstall? It removes everything",
    "top": "every engine with its load: cncp status",
    "update": "bring the cluster to what is wanted: cncp up",
    "upgrade": "bring the cluster to what is wanted: cncp up",
}
"""Words that people try, and what to tell them."""
