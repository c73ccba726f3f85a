# shellcheck shell=dash
# What the programs switch and blancmange share: the disk's partitions by their GPT names, and GRUB's environment.

# shellcheck source=SCRIPTDIR/grubenv.sh disable=SC1091
. /etc/cncp/cidkid.d/grubenv.sh

grub_folder=/run/cncp-blancmange

die() {
    echo "error: $1" >&2
    exit 1
}

# Print the kernel's name of the partition with a GPT name: partition NAME
partition() {
    for event in /sys/class/block/*/uevent; do
        if grep -qxF "PARTNAME=$1" "$event"; then
            event=${event%/uevent}
            echo "${event##*/}"
            return
        fi
    done
    die "no partition of this disk is called $1"
}

# Print the slot of an image. The slots come after the swap space: slot IMAGE
slot() {
    held=$(partition "$1")
    swap=$(partition swap)
    echo "slot$(($(cat "/sys/class/block/$held/partition") - $(cat "/sys/class/block/$swap/partition") - 1))"
}

# Have GRUB's environment be at $grub_folder/grub/grubenv until the end.
open_environment() {
    device=$(partition blancmange)
    mkdir -p "$grub_folder"
    mount -t ext4 "/dev/$device" "$grub_folder" || die "/dev/$device cannot be mounted"
    trap 'umount "$grub_folder"' EXIT
}

# Shut down in order and boot what comes next.
boot_next() {
    umount "$grub_folder" || die "what GRUB is to boot could not be written"
    trap - EXIT
    sync
    # By its path: busybox's shell would take its own, whatever the image has.
    exec /sbin/reboot
}
