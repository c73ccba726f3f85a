"""What iPXE gets: a script that boots Blancmange, the disk, or asks again. It cannot be signed: see the docs."""

from __future__ import annotations

from cncp.netboot.node_states import Node

_PAUSE = 5  # s between two questions of a node that waits


def boot_script(address: str, node: Node, key: str, more: str = "") -> str:
    """Return the script for a node; ``key`` is that of this boot, "" where the network has nothing for it.

    ``more`` are further arguments for the kernel.

    A node that has an image boots its disk, and asks again where there is nothing to boot on it.
    """
    # Of the card that asked: a node may have others, and net0 be one of those.
    again = f"sleep {_PAUSE}\nchain --replace http://{address}/v1/boot?mac={node.mac}&uuid={node.uuid}"
    if key:
        arguments = f"cidd=http://{address} node={node.name} key={key} {more}".rstrip()
        body = (
            f"kernel http://{address}/v1/blancmange/kernel initrd=initramfs {arguments} || goto again\n"
            f"initrd --name initramfs http://{address}/v1/blancmange/initramfs || goto again\nboot || goto again"
        )
    elif node.slots or node.state == "boot":
        # It knows no disk of UEFI's; firmware goes on with what comes next where a boot has failed, and at that alone.
        body = "iseq ${platform} efi && exit 1 ||\nsanboot --no-describe --drive 0x80 || goto again"
    else:
        body = f"echo {node.name} is {node.state} || goto again"
    return f"#!ipxe\n{body}\n:again\n{again}\n"
