# shellcheck shell=dash
# GRUB, without its installer: boot.img and core.img are patched when Blancmange is built, for the layout's first partition;
# UEFI reads the last, the ESP.

esp=/lib/grub/esp

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

# Write a file to a device that has other bytes there: write_if_other FILE DEVICE [SECTOR]
write_if_other() {
    has "$@" || dd if="$1" of="$2" bs=512 seek="${3:-0}" conv=notrunc,fsync 2> /dev/null
}

# Tell whether a device has the bytes of a file: has FILE DEVICE [SECTOR]
has() {
    local size
    size=$(stat -c %s "$1")
    dd if="$2" bs=512 skip="${3:-0}" count=$(((size + 511) / 512)) 2> /dev/null | head -c "$size" | cmp -s - "$1"
}

# Tell whether a disk has an ESP: has_esp DISK
has_esp() {
    [ "$(held "$1" esp)" = esp ]
}

# Have UEFI find GRUB on a disk where there is an entry to boot, else nothing, so that it goes on with the network: GRUB
# itself cannot have it go on. Another GRUB than before goes to the place in the ESP that is not named there, and then one
# sector names that: whenever the power is cut, UEFI finds the one or the other. uefi_finds DISK ENTRY
uefi_finds() {
    has_esp "$1" || return 0
    local there directory place=a other=b
    there=$(device "$1" esp)
    directory=$(esp_sector directory)
    if [ -z "$2" ]; then
        write_if_other "$esp/directory.none" "$there" "$directory"
        return
    fi
    ! has "$esp/directory.b" "$there" "$directory" || place=b other=a
    if has "$esp/directory.$place" "$there" "$directory" && ! has "$esp/grub" "$there" "$(esp_sector "$place")"; then
        place=$other
    fi
    write_if_other "$esp/grub" "$there" "$(esp_sector "$place")"
    write_if_other "$esp/frame" "$there"
    write_if_other "$esp/directory.$place" "$there" "$directory"
}

# Print where a part of the ESP begins: esp_sector directory|a|b
esp_sector() {
    local sector
    sector=$(($(stat -c %s "$esp/frame") / 512))
    case $1 in
        a) sector=$((sector + 1)) ;;
        b) sector=$((sector + 1 + $(stat -c %s "$esp/grub") / 512)) ;;
    esac
    echo "$sector"
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
