# shellcheck shell=dash
# GRUB, without its installer: boot.img and core.img are patched when Blancmange is built, for the layout's first partition.

# Have GRUB be on a disk: install_grub DISK FOLDER (Blancmange's own)
install_grub() {
    local partition
    partition=$(device "$1" grub)
    mkdir -p "$2/grub"
    # The first 440 bytes alone are code; the protective table comes after them.
    write_if_other /lib/grub/boot.img "$1"
    write_if_other /lib/grub/core.img "$partition"
    replace_if_other /lib/grub/grub.cfg "$2/grub/grub.cfg"
    if [ "$(head -c 24 "$2/grub/grubenv" 2> /dev/null)" != '# GRUB Environment Block' ]; then
        { printf '# GRUB Environment Block\n' && printf '%999s' '' | tr ' ' '#'; } > "$2/grub/grubenv"
        chmod 600 "$2/grub/grubenv"
    fi
}

# Write a file to the beginning of a device that has other bytes there: write_if_other FILE DEVICE
write_if_other() {
    local size
    size=$(stat -c %s "$1")
    head -c "$size" "$2" | cmp -s - "$1" || dd if="$1" of="$2" bs=4096 conv=notrunc,fsync 2> /dev/null
}

# Put a file in the place of one with another content: replace_if_other FILE THERE
replace_if_other() {
    cmp -s "$1" "$2" && return
    cp "$1" "$2.new"
    sync
    mv "$2.new" "$2"
}

# Write how GRUB boots an image from a slot: entry SLOT IMAGE FOLDER (the slot's tree) OWN (Blancmange's)
entry() {
    {
        echo "search --no-floppy --label $1 --set=root"
        echo "linux /boot/cncp/kernel root=LABEL=$1 rw cncp.image=$2 \$fresh_argument $(cat /etc/cncp/arguments)"
        [ ! -e "$3/boot/cncp/initrd" ] || echo "initrd /boot/cncp/initrd"
    } > /tmp/entry.cfg
    replace_if_other /tmp/entry.cfg "$4/grub/$1.cfg"
}
