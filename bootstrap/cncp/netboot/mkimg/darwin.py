"""Trees of Darwin (Mac OS X of the years of the PowerPC and of early Intel): packed on Linux, as they were once made.

What is left out, where the kernel is and what starts the agent are data here, from hier(7) and launchd.plist(5).
Nothing here boots such an image: neither its firmware's network boot nor its disks are known to Blancmange. It is for
those who keep one, and cidd refuses to put a node into it.
"""

from __future__ import annotations

from pathlib import Path

from cncp.errors import CncpError
from cncp.netboot import cidkid
from cncp.netboot.mkimg.boot_files import BootFiles
from cncp.netboot.mkimg.in_tree import Tree

EXCLUDED = """\
# What each boot makes anew, other disks, and what finds files again.
/.Spotlight-V100
/.Trashes
/.fseventsd
/.hotfiles.btree
/.vol/*
/Library/Caches/*
/Network/*
/System/Library/Caches/*
/Volumes/*
/automount/*
/dev/*
/private/tmp/*
/private/var/folders/*
/private/var/run/*
/private/var/spool/*
/private/var/tmp/*
/private/var/vm/*
"""

SECRETS = (
    "/Library/Keychains/*",
    "/private/etc/krb5.keytab",
    "/private/etc/ssh_host_*",
    "/private/etc/ssh/ssh_host_*",
    "/private/etc/cncp/cid*.json",
    "/private/var/db/SystemKey",
    "/private/var/db/dslocal/nodes/Default/users/root.plist",
    "/private/var/db/netinfo/*",
    "/private/var/db/shadow/*",
    "/private/var/db/volinfo.database",
    "/*/.ssh/id_*",
)
"""What is secret, or one machine's own."""

_KERNELS = ("mach_kernel", "System/Library/Kernels/kernel")
_AGENT, _DAEMON = "usr/local/lib/cncp/cidkid.py", "Library/LaunchDaemons/cncp.cidkid.plist"
_PLIST = f"""\
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
    <key>Label</key><string>cncp.cidkid</string>
    <key>ProgramArguments</key><array><string>/usr/bin/env</string><string>python3</string><string>/{_AGENT}</string></array>
    <key>RunAtLoad</key><true/>
    <key>KeepAlive</key><true/>
</dict>
</plist>
"""


def find(tree: Tree) -> BootFiles:
    """Return the kernel. Raises CncpError where there is none."""
    for name in _KERNELS:
        if tree.path(name).is_file():
            return BootFiles(name, "", "")
    raise CncpError(
        f"the tree has no kernel of Darwin: neither {' nor '.join(_KERNELS)}", "give the root of such a system"
    )


def prepare(tree: Tree) -> None:
    """Have launchd start the agent."""
    tree.put(_AGENT, Path(cidkid.__file__).read_bytes(), 0o755)
    tree.put(_DAEMON, _PLIST)
