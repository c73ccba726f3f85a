#!/bin/sh
# switch IMAGE: boot an image that is in a slot of this disk, now and from now on. cidkid calls it.
# An image that stays packed begins anew: what jobs have written over it is gone.
# shellcheck shell=dash disable=SC2154  # boot_next.sh sets what is not set here
set -eu

# shellcheck source=SCRIPTDIR/boot_next.sh disable=SC1091
. /etc/cncp/cidkid.d/boot_next.sh

chosen=$(slot "$1")
open_environment
environment=$grub_folder/grub/grubenv
env_set "$environment" "saved_entry=$chosen" next_entry= cidd_key= fresh=cncp.fresh \
    "slots_used=$(env_used "$(env_get "$environment" slots_used)" "$chosen")"
boot_next
