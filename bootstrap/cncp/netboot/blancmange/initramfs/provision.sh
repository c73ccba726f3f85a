#!/bin/sh
# Put the image that cidd names into a slot of this machine's disk. Ends with 0 for a reboot into it, with 2 for a
# reboot to try again, with 1 where somebody has to look.
# shellcheck shell=dash
set -eu

for part in report disk slots grub fetch grubenv; do
    # shellcheck source=/dev/null
    . "/lib/cncp/$part.sh"
done

# End with a status that is meant, which those of programs are not: leave STATUS
leave() {
    trap - EXIT
    exit "$1"
}

# Tell cidd that it does not go on, and why; what it answers says whether to try again: fail WHY
fail() {
    trap - EXIT
    echo "failed: $1"
    report "{\"state\": \"failed\", \"reason\": \"$(printf '%s' "$1" | tr -d '"\\\n' | cut -c 1-300)\"}" || leave 2
    [ "$verb" = none ] || leave 2
    leave 1
}

# What a program has said that failed is the reason.
ended() {
    [ "$1" = 0 ] || fail "$(grep -v '^$' /tmp/errors | tail -n 1)"
}

exec 2> /tmp/errors
own=/mnt/blancmange tree=/mnt/slot image='' verb='' seconds=0

# What the kernel's command line says.
# shellcheck disable=SC2013  # words
for word in $(cat /proc/cmdline); do
    case $word in
        cidd=*) cidd=${word#*=} ;;
        node=*) node=${word#*=} ;;
        key=*) key=${word#*=} ;;
    esac
done
if [ -z "${cidd:-}" ] || [ -z "${node:-}" ] || [ -z "${key:-}" ]; then
    echo "there is no key for this boot"
    leave 2
fi
use_key "$key"
trap 'ended $?' EXIT

# The disk, and room for an image.

disk=$(choose_disk) || disk=
found='[]'
[ -z "$disk" ] || found=$(images "$disk")
state blancmange "\"slots\": $found" || leave 2
[ -n "$disk" ] || fail "$(cat /tmp/errors)"
state partition || leave 2
partition_disk "$disk"
! by_uefi || has_esp "$disk" ||
    fail "this machine boots by UEFI, for which its disk has no partition: have it boot by a BIOS, or sfdisk --delete $disk"
swap=$(device "$disk" swap)
make_swap "$swap"
open_blancmange "$disk" "$own"
install_grub "$disk" "$own"
environment=$own/grub/grubenv
env_set "$environment" "cidd_node=$node" cidd_key= next_entry= fresh=
chosen=$(env_get "$environment" saved_entry)
uefi_finds "$disk" "$chosen"

# Blancmange itself, so that the next image needs no boot from the network.

keep_blancmange "$own"

# The image: when it is this node's turn, cidd says so.

state queued || leave 2
while [ "$verb" = wait ]; do
    sleep "$seconds"
    state queued || leave 2
done
wanted_image=$image
fetch_small "/v1/images/$wanted_image/manifest.json" /tmp/manifest.json
fetch_small "/v1/images/$wanted_image/manifest.minisig" /tmp/manifest.minisig
signed /tmp/manifest.json /tmp/manifest.minisig "$wanted_image"
slot=$(slot_for "$disk" "$wanted_image" "$(env_get "$environment" slots_used)")
# From here on what was in that slot is no image any more.
if [ "$chosen" = "$slot" ]; then
    uefi_finds "$disk" ''
    env_set "$environment" saved_entry=
fi
name_slot "$disk" "$slot" "$slot"
partition=$(device "$disk" "$slot")
mkfs -L "$slot" "$partition"
mkdir -p "$tree"
mount -t ext4 "$partition" "$tree"

total=$(blobs /tmp/manifest.json | awk '{ sum += $3 } END { printf "%d", sum }')
stage=$(stage_for "$total" "$tree")
before=0
for role in $(blobs /tmp/manifest.json | cut -d ' ' -f 1); do
    # shellcheck disable=SC2046  # three words
    set -- $(blobs /tmp/manifest.json | grep "^$role ")
    fetch_large "/v1/blobs/$2" "$stage/$role" "$3" "$before" "$total"
    before=$((before + $3))
done
state verify || leave 2
blobs /tmp/manifest.json | while read -r role sum _; do
    echo "$sum  $stage/$role"
done > /tmp/sums
sha256sum -c -s /tmp/sums || fail "a part of $wanted_image is not what its manifest says"
state unpack || leave 2
unpack "$stage" "$tree" "$(packed /tmp/manifest.json)"
entry "$slot" "$wanted_image" "$tree" "$own"
write_identity "$tree" "$wanted_image"
umount "$tree"

# cidd hears of it before the disk has it: from then on the image's key holds.
state boot || leave 2
name_slot "$disk" "$slot" "$wanted_image"
env_set "$environment" "saved_entry=$slot" "slots_used=$(env_used "$(env_get "$environment" slots_used)" "$slot")"
umount "$own"
sync
uefi_finds "$disk" "$slot"
