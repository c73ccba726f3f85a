#!/bin/sh
# blancmange IMAGE: boot Blancmange from this disk, once, with the key of that boot, which is on the standard input.
# Which image it is to fetch cidd tells Blancmange itself. cidkid calls it.
# shellcheck shell=dash disable=SC2154  # boot_next.sh sets what is not set here
set -eu

# shellcheck source=SCRIPTDIR/boot_next.sh disable=SC1091
. /etc/cncp/cidkid.d/boot_next.sh

IFS= read -r key || [ -n "$key" ] || die "there is no key on the standard input"
case $key in
    '' | *[!0-9a-f]*) die "what is on the standard input is no key" ;;
esac
open_environment
env_set "$grub_folder/grub/grubenv" next_entry=blancmange "cidd_key=$key"
boot_next
