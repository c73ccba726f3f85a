"""A tree becomes an image: nothing in it is one machine's own or secret, and cidkid runs in it."""

from __future__ import annotations

from pathlib import Path

from cncp.errors import CncpError
from cncp.netboot import cidkid, engine_host
from cncp.netboot.mkimg.in_tree import Tree

IN_IMAGE = Path(__file__).parent / "in_image"
"""Files that images are given."""

AGENT = "usr/lib/cncp/cidkid.py"
PROGRAMS = "etc/cncp/cidkid.d"

_UNITS = {
    "cidkid.service": "multi-user.target",
    "cncp-host-keys.service": "multi-user.target",
    "cncp-node-name.service": "sysinit.target",
}
"""Units, and what begins them."""
_HOOKS = ("drain", "resume")
"""What cidkid calls, and others may have a part in: each program of etc/cncp/VERB.d is run."""

_INITTAB = f"::respawn:/usr/bin/python3 /{AGENT}"
_LOCAL = ("UUID=", "LABEL=", "PARTUUID=", "PARTLABEL=", "ID=", "/dev/", "/swap")
_FSTAB = """\
# Which partition is the root, the boot loader says.
/dev/root / auto defaults 0 0
LABEL=swap none swap nofail,x-systemd.device-timeout=60s 0 0
"""


def prepare(tree: Tree, bundle: Path | None = None) -> None:
    """Make a tree of Linux an image; with a bundle, one whose engines are installed from that.

    Raises CncpError where nothing in it would run the agent.
    """
    if not tree.has("usr/bin/python3"):
        raise CncpError("the tree has no usr/bin/python3, which cidkid runs on", "install Python 3 in it")
    inittab = tree.text("etc/inittab")
    if tree.has("lib/systemd/systemd"):
        for unit, target in _UNITS.items():
            tree.put(f"etc/systemd/system/{unit}", (IN_IMAGE / unit).read_bytes())
            tree.link(f"etc/systemd/system/{target}.wants/{unit}", f"/etc/systemd/system/{unit}")
        tree.put("usr/lib/cncp/node_name", (IN_IMAGE / "node_name.sh").read_bytes(), 0o755)
        tree.put("etc/fstab", _FSTAB + "".join(_shared(tree.text("etc/fstab") or "")))
        tree.put("etc/machine-id", "", 0o444)
        _have_engines(tree, bundle)
        if "SELINUX=enforcing" in (tree.text("etc/selinux/config") or "").splitlines():
            # Labels are not packed: they are those of the machine that it was made on.
            tree.put(".autorelabel", "")
    elif inittab is not None and (tree.has("bin/busybox") or tree.has("usr/bin/busybox")):
        if _INITTAB not in inittab.splitlines():
            tree.put("etc/inittab", f"{inittab.rstrip()}\n{_INITTAB}\n".lstrip())
    else:
        raise CncpError(
            "nothing in the tree would start cidkid: it has neither systemd nor busybox with an etc/inittab",
            "install systemd in it",
        )
    tree.put(AGENT, Path(cidkid.__file__).read_bytes(), 0o755)
    for verb in _HOOKS:
        tree.put(f"{PROGRAMS}/{verb}", (IN_IMAGE / "each_of.sh").read_bytes(), 0o755)
    tree.remove("boot/cncp")
    # Each node's own: written when the image is put on its disk.
    tree.remove("etc/hostname")
    for name in ("etc/passwd", "etc/shadow", "etc/gshadow"):
        before = tree.text(name)
        if before is not None and (locked := _locked(before)) != before:
            tree.change(name, locked)


def _have_engines(tree: Tree, bundle: Path | None) -> None:
    """Have the programs by which engines join, drain and leave; without a bundle they say that there are none."""
    for path, (content, mode) in engine_host.files().items():
        verb = path.removeprefix(f"{PROGRAMS}/")
        tree.put(f"etc/cncp/{verb}.d/engines" if verb in _HOOKS else path, content, mode)
    if bundle is not None:
        tree.put(str(engine_host.Place(Path()).bundle), bundle.read_bytes())


def _shared(fstab: str) -> list[str]:
    """Return the lines of an fstab that hold on every machine: none of a disk, and no root."""
    kept = []
    for line in fstab.splitlines(keepends=True):
        fields = line.split()
        if len(fields) >= 2 and not fields[0].startswith(("#", *_LOCAL)) and fields[1] != "/":
            kept.append(line)
    return kept


def _locked(accounts: str) -> str:
    """Return a file of accounts in which no password lets anybody in: an image can be fetched and tried."""
    lines = []
    for line in accounts.splitlines():
        fields = line.split(":")
        if len(fields) > 2 and fields[1] != "x" and not fields[1].startswith(("*", "!")):
            fields[1] = "*"
        lines.append(":".join(fields))
    return "\n".join(lines) + "\n"
