"""What of a tree does not go into its image: a list that users replace by one of their own, and what never goes.

A pattern a line, as a path from the root of the tree; a star stands for anything, slashes too. ``/tmp/*`` leaves the
folder. An image is served to whoever asks for it: a secret in it is none.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cncp.errors import UsageError

USUAL = """\
# What each boot makes anew.
/dev/*
/proc/*
/run/*
/sys/*
/tmp/*
/var/tmp/*
/lost+found

# What a package manager gets again.
/var/cache/apt/archives/*.deb
/var/cache/apt/*.bin
/var/lib/apt/lists/*
/var/cache/dnf/*
/var/cache/yum/*

# Sparse, and larger than any disk where users have high numbers.
/var/log/lastlog
"""
"""For every tree. Little, so that what is put into a tree is in its image."""

OF_A_NODE = """\
# Of a node that runs: what is its own, or belongs to people and not to the system.
/home/*
/media/*
/mnt/*
/scratch/*
/var/crash/*
/var/lib/docker/*
/var/lib/containers/*
/var/log/*.gz
/var/log/*.1
/var/log/journal/*
/var/spool/cron/*
/var/spool/slurm*
/*/.cache/*
/*/.local/share/cncp/*
/swapfile
/swap.img

# Keys and passwords of the node, or of whoever has worked on it.
/etc/ipsec.d/private/*
/etc/letsencrypt/*
/etc/pki/tls/private/*
/etc/ssl/private/*
/etc/wireguard/*
/*/.aws/*
/*/.git-credentials
/*/.gnupg/*
/*/.netrc

# A secret of all nodes: put it there by other means, once they run.
/etc/munge/munge.key
"""
"""In addition, for what is copied from a running node."""

SECRETS = (
    "/etc/.pwd.lock",
    "/etc/cncp/cidcapt.json",
    "/etc/cncp/cidkid.json",
    "/etc/gshadow-",
    "/etc/krb5.keytab",
    "/etc/passwd-",
    "/etc/group-",
    "/etc/shadow-",
    "/etc/ssh/ssh_host_*",
    "/etc/dropbear/dropbear_*_host_key",
    "/etc/NetworkManager/system-connections/*",
    "/etc/udev/rules.d/70-persistent-net.rules",
    # Of any account, those of services as well.
    "/*/.*_history",
    "/*/.ssh/id_*",
    "/var/lib/cncp/netboot",
    "/var/lib/dbus/machine-id",
    "/var/lib/dhcp/*",
    "/var/lib/systemd/credential.secret",
    "/var/lib/systemd/random-seed",
)
"""What is secret, or one machine's own, and is in no image whatever the list says."""


def patterns(text: str, where: str) -> list[str]:
    """Return the patterns of a list. Raises UsageError, naming the line."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        if not pattern.startswith("/") or pattern.strip("/*") == "" or "/../" in f"{pattern}/":
            raise UsageError(
                f"{where}, line {number}: {pattern[:60]!r} is no path within a tree",
                "write it as a path from the tree's root: /var/cache/*",
            )
        found.append(pattern)
    return found


def read(path: Path) -> list[str]:
    """Return the patterns of a file. Raises UsageError."""
    try:
        return patterns(path.read_text(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(f"{path} cannot be read: {reason}", "name a file with a pattern a line") from None


def tar_options(excluded: Iterable[str]) -> list[str]:
    """Return patterns as GNU tar takes them, for members that begin with ``./``."""
    return ["--anchored", "--wildcards", *(f"--exclude=.{pattern.rstrip('/')}" for pattern in excluded)]
